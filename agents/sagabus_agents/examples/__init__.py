"""Demo agents for the workflow ``deploy_pipeline``: devops, backend, tester."""
