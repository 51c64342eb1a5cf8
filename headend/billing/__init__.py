"""From settled days to acknowledged batches."""
