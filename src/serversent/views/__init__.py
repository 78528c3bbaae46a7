"""Which answer does a request get: a stream, a refusal or an ordinary response?

The decorators run the project's view and make a response of its result; the hand-off keeps the stream until Django
has finished the request.

- ``decorators``: ``@event_stream`` and ``@channel_stream``
- ``mistakes``: errors that name the line to write instead
- ``channel_response``: the response to the result of a channel view
- ``request``: questions about the request of a stream
- ``wsgi``: streams on a WSGI server
- ``refusals``: the answers instead of a stream
- ``response``: ``EventStreamResponse``, and how plain Django and WSGI serve it
- ``extraction``: takes the stream out of a response that Django would send
- ``handoff``: keeps the stream of one request from the view to the server
- ``admission``: the identity of a stream, and the slots that it takes
- ``disconnect``: the client's disconnect, and the request's body
- ``page_cursor``: where the log stood when the request of a page began
- ``signed_urls``: ``sse_url`` and the tokens in its URLs
- ``signed_stream``: the view behind those URLs
- ``renewal``: the view that renews them
- ``elements``: the HTML of the browser client
- ``static_files``: the client's files, for an ASGI server in development
"""

__all__: list[str] = []
