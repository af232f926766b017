/* Gives one client process an address of its own, as if it ran on a node of its own.
 *
 * Preloaded (LD_PRELOAD), it binds every outgoing IPv4 connection to $BIND_SRC before it is made. All of 127.0.0.0/8
 * is local to a Linux machine, so that 127.0.0.12 needs no set-up, and Ceph sees, records and fences that address.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

typedef int connect_function(int, const struct sockaddr *, socklen_t);

int connect(int descriptor, const struct sockaddr *target, socklen_t length)
{
    connect_function *next = (connect_function *)dlsym(RTLD_NEXT, "connect");
    const char *wanted = getenv("BIND_SRC");
    struct sockaddr_in source = {.sin_family = AF_INET};

    if (wanted && target->sa_family == AF_INET && inet_pton(AF_INET, wanted, &source.sin_addr) == 1) {
        /* A refused bind must not pass unnoticed: the client would show up under another node's address.
         * EINVAL is no refusal but "bound already": librados asks with a second connect() whether the first is done. */
        if (bind(descriptor, (struct sockaddr *)&source, sizeof source) != 0 && errno != EINVAL)
            return -1;
    }
    return next(descriptor, target, length);
}
