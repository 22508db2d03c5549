"""Pure rules: values in, values out; no asyncio, no clock, no I/O."""
