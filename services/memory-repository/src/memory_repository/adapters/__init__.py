"""The memory in the shape of interfaces that people know already. Each is optional, and built on the library alone.

- `memory_repository.adapters.langgraph`: LangGraph's `BaseStore` and `BaseCheckpointSaver`; with extra `langgraph`.
- `memory_repository.adapters.mem0`: a client shaped like mem0's; needs nothing.
"""
