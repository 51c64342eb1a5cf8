"""What `headend demo` starts instead of servers."""
