"""One file a page: what it reads, and what its template gets."""
