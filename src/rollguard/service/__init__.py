"""The service: one Rollguard for agents in many processes and languages, over HTTP.

It needs the extra `service`: `pip install "rollguard[service]"`.
"""
