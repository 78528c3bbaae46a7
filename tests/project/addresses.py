"""The address of a client behind one proxy of ours: the last, which that has added; the rest anybody may write."""


def forwarded_for(request):
    return request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
