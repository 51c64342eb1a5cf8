"""Modbus: meters described by register maps, read in merged blocks over one serialized bus per connection."""
