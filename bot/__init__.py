"""Who talks and when: the command line, settings and the wiring of everything below."""
