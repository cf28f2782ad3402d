"""What a modality is worth, also where cells are missing."""
