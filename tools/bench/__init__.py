"""How fast everything is on this machine, measured in one run."""
