"""The benchmark: one run, one table, soft scores for all, the same splits for all. Read ``run`` first."""
