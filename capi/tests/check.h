/* What the tests in C share: a check that fails says where, and ends the program. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "realign.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s; the last message: %s\n", __FILE__, __LINE__, #condition,               \
                    realign_last_error_message());                                                                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define WELL(call) CHECK((call) == REALIGN_STATUS_OK)

/* The call must fail with this status, and its message must have this word. */
#define FAILS(call, status, word)                                                                                      \
    do {                                                                                                               \
        CHECK((call) == (status));                                                                                     \
        CHECK(strstr(realign_last_error_message(), word) != NULL);                                                     \
    } while (0)

/* A path within the folder of the test's files; the last four stay. */
static inline const char *in(const char *folder, const char *name) {
    static char paths[4][1024];
    static int next = 0;
    char *path = paths[next++ % 4];
    snprintf(path, 1024, "%s/%s", folder, name);
    return path;
}

/* Numbers from -1 to 1, the same in every run. */
static inline void fill(float *numbers, size_t len, unsigned seed) {
    unsigned state = 2654435761u * seed + 1;
    for (size_t i = 0; i < len; i++) {
        state = 1664525u * state + 1013904223u;
        numbers[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static inline RealignDevice *host(void) {
    RealignDevice *device = NULL;
    WELL(realign_device_open("host", &device));
    return device;
}

#endif
