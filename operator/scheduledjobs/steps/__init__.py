"""The steps of the scheduler, one verb a file, each a coroutine that a test can call."""
