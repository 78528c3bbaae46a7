"""The client's address, behind one proxy of ours."""


def forwarded_for(request):
    return request.headers.get("X-Forwarded-For", "").partition(",")[0]
