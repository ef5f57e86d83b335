"""The command line of operators; agents' commands are in ``sagabus_agents.command``."""
