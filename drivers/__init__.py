"""Field protocols: they read meters and parse what meters say; they know no database and no service."""
