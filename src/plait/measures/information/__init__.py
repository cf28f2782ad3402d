"""What modalities say about a target: together, alone, and only in company."""
