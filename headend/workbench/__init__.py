"""The engine on an engineer's table: readings from files, without database or service, explained in a report.

The rule it keeps: what is in the files decides, and whatever of it was left out is said in the report.
"""
