"""PostgreSQL/TimescaleDB: the only place that speaks SQL."""
