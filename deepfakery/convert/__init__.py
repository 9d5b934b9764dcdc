"""From a generated face to a finished frame, clip or photo."""
