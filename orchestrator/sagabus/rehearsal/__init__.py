"""Running a definition on paper: the machine itself, scripted outcomes, no servers, no waiting."""
