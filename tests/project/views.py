import asyncio, time
from django.http import StreamingHttpResponse
from serversent import event_stream

@event_stream
async def ticks(request):
    i=0
    while True:
        yield {"i": i}
        i += 1
        await asyncio.sleep(0.5)

@event_stream
def sync_ticks(request):
    i=0
    try:
        while True:
            yield f"n {i}"
            i += 1
            time.sleep(0.5)
    finally:
        print("sync closed", flush=True)

def plain_async(request):
    async def gen():
        i=0
        while True:
            yield f"data: {i}\n\n"
            i+=1
            await asyncio.sleep(.5)
    return StreamingHttpResponse(gen(), content_type="text/event-stream")

def plain_sync(request):
    def gen():
        i=0
        while True:
            yield f"data: {i}\n\n"
            i+=1
            time.sleep(.5)
    return StreamingHttpResponse(gen(), content_type="text/event-stream")

@event_stream
async def three(request):
    for i in range(3):
        yield str(i)
