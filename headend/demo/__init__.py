"""`headend demo`: the whole house on one machine, with a simulated neighbourhood in place of the field."""
