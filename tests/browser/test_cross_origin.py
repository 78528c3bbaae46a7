"""A page of one origin, and the streams of another, with django-cors-headers between them."""

import pytest

from tests.processes import serve

pytestmark = pytest.mark.service("chromium")

MIDDLEWARE = (
    "corsheaders.middleware.CorsMiddleware django.contrib.sessions.middleware.SessionMiddleware "
    "django.contrib.auth.middleware.AuthenticationMiddleware"
)

EVENT_SOURCE = """
([url, options]) => new Promise(resolve => {
  const source = new EventSource(url, options);
  source.addEventListener("ready", () => { source.close(); resolve("ready"); });
  source.onerror = () => { source.close(); resolve("refused"); };
})
"""

# As a client of ours does: the header makes the browser ask beforehand whether it may.
FETCH = """
([url, cursor]) => fetch(url, {credentials: "include", headers: {"Last-Event-ID": cursor}}).then(
  async answer => {
    const reader = answer.body.getReader();
    let text = "";
    while (!text.includes("event: ")) text += new TextDecoder().decode((await reader.read()).value);
    await reader.cancel();
    return text;
  },
  error => "refused")
"""


@pytest.fixture(scope="module")
def page_server(server_folder, sqlite_file):
    with serve("uvicorn-httptools", server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        yield server


@pytest.fixture(scope="module")
def stream_server(server_folder, sqlite_file, page_server):
    environment = {
        "TEST_SQLITE": sqlite_file,
        "TEST_MIDDLEWARE": MIDDLEWARE,
        "TEST_FIRST_APPS": "corsheaders",
        "TEST_CORS_ORIGINS": page_server.url,
    }
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


def test_an_origin_that_is_allowed_listens_and_resumes(page, page_server, stream_server):
    page.goto(f"{stream_server.url}/url/?channel=news")  # the cookie of the streams' server
    path = page.inner_text("body")
    page.goto(page_server.url)
    assert page.evaluate(EVENT_SOURCE, [stream_server.url + path, {"withCredentials": True}]) == "ready"
    assert page.evaluate(EVENT_SOURCE, [stream_server.url + path, {}]) == "refused"  # without its cookie
    assert "event: reset" in page.evaluate(FETCH, [stream_server.url + path, "another-1"])


def test_another_origin_reads_nothing(page, page_server, stream_server, server_folder, sqlite_file):
    page.goto(f"{stream_server.url}/url/?channel=news")
    path = page.inner_text("body")
    with serve("uvicorn-httptools", server_folder, environment={"TEST_SQLITE": sqlite_file}) as another:
        page.goto(another.url)
        assert page.evaluate(EVENT_SOURCE, [stream_server.url + path, {"withCredentials": True}]) == "refused"
        assert page.evaluate(FETCH, [stream_server.url + path, "another-1"]) == "refused"
