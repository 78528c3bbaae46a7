"""The address of the client, behind one proxy of ours: the last, which that has added. The others are anybody's word."""


def forwarded_for(request):
    return request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
