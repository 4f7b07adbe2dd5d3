"""A history as it leaves a store and enters another: lines of JSON, and a stream of `git fast-import`. Pure."""
