"""How good a swap is: measures, tables, baselines."""
