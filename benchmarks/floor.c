/* The floor: one thread, one send() for each delivery, nothing else. What is left is the kernel's work.

   GET /stream/...                   opens a stream
   GET /publish/?events=N&interval=S sends N events to every stream, one each S seconds
   GET /anything else                answers nothing
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FILES 20000

static int streams[MAX_FILES], count;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void publish(int events, double interval, int padding) {
    static char body[100000], chunk[100100];
    long long due = now_ns();
    for (int number = 0; number < events; number++) {
        int size = sprintf(body, "id: abcdef-%d\ndata: %lld%*s\n\n", number, now_ns(), padding, "");
        size = sprintf(chunk, "%x\r\n%s\r\n", size, body);
        for (int i = 0; i < count; i++)
            if (send(streams[i], chunk, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
                streams[i--] = streams[--count];
        due += (long long)(interval * 1e9);
        struct timespec until = {due / 1000000000LL, due % 1000000000LL};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
    }
}

int main(int argc, char **argv) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 2048)) return 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) < 1) continue;
        int fd = event.data.fd;
        if (fd == listener) {
            fd = accept(listener, NULL, NULL);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
            continue;
        }
        char request[4096];
        int size = recv(fd, request, sizeof request - 1, 0), events = 0, padding = 0;
        double interval = 0;
        if (size <= 0) {
            for (int i = 0; i < count; i++)
                if (streams[i] == fd) streams[i--] = streams[--count];
            close(fd);
            continue;
        }
        request[size] = 0;
        if (strncmp(request, "GET /stream/", 12) == 0) {
            const char *head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            send(fd, head, strlen(head), MSG_NOSIGNAL);
            streams[count++] = fd;
            continue;
        }
        const char *answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        send(fd, answer, strlen(answer), MSG_NOSIGNAL);
        close(fd);
        if (sscanf(request, "GET /publish/?events=%d&interval=%lf&padding=%d", &events, &interval, &padding) == 3)
            publish(events, interval, padding);
    }
}
