"""What notebooks 5 to 7 study: faces from noise, upscaling, detection."""
