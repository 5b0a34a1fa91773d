"""The sections of the report: for each, a module that gathers its data and a template."""
