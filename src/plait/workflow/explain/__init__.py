"""What a model leans on, what its data can tell, and where both end: `plait explain`."""
