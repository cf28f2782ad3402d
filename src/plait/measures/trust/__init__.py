"""Whether a model can be trusted: groups, abstention, conflict, outliers, balance, dependence, robustness."""
