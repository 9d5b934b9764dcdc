"""What notebooks show and how they are run: plots, controls, the runner."""
