"""How mutations are registered: each breaks one rule, behind a proxy."""

MUTATIONS = {}


def mutation(name, *groups):
    """Registers a mutation of `test_<group>.py`. Its docstring says which rule it breaks.

    A mutation is `mutate(request, send, loaded)`: it gives the answer, which `send(request)` gets from the server.
    """
    def register(function):
        MUTATIONS[name] = (groups, function)
        return function
    return register


def answering(name, *groups, endpoint=None):
    """Registers a mutation that changes answers only: `change(response, request)`, of one endpoint or of all."""
    def register(change):
        def mutate(request, send, loaded):
            response = send(request)
            if endpoint is None or request.endpoint == endpoint:
                change(response, request)
            return response
        mutate.__doc__ = change.__doc__
        return mutation(name, *groups)(mutate)
    return register


def on_files(name, *groups, endpoint="query"):
    """Registers a mutation of each file line: `change(content)`."""
    def register(change):
        def each(response, request):
            if response.is_ndjson():
                response.each_file(lambda kind, content: change(content))
        each.__doc__ = change.__doc__
        return answering(name, *groups, endpoint=endpoint)(each)
    return register
