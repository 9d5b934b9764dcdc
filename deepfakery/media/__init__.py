"""Files in and out: clips, pictures, folders, and what made them."""
