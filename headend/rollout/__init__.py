"""From a shared meter to one meter per household, step by step on evidence."""
