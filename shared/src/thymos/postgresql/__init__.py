"""PostgreSQL as a `thymos.database.Connection`; needs the extra `thymos[postgresql]`.

dialect.py translates SQL, faults.py says what is wrong with a server, connection.py talks to it.
"""
