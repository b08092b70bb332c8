/* Two threads: the same objects at once, each thread's own message, objects that are freed elsewhere than they were made.
 *
 * usage: threads
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>

#include "check.h"

enum { WIDTH = 16, ROWS = 300, NUMBERS = WIDTH * ROWS, ROUNDS = 8 };

typedef struct Shared {
    const RealignDevice *device;
    const RealignStatistics *statistics;
    const float *rows, *wanted;
    pthread_barrier_t together;
} Shared;

typedef struct Task {
    Shared *shared;
    int number;
    RealignMoments *moments;
} Task;

static void *work(void *data) {
    Task *task = data;
    const Shared *shared = task->shared;
    static const char *const names[2] = {"no/such/file/a", "no/such/file/b"};
    RealignStatistics *none = NULL;
    CHECK(strcmp(realign_last_error_message(), "") == 0);
    FAILS(realign_statistics_load(names[task->number], &none), REALIGN_STATUS_IO, names[task->number]);
    pthread_barrier_wait(&task->shared->together);
    /* The other thread's message is not ours. */
    CHECK(strstr(realign_last_error_message(), names[task->number]) != NULL);
    float *out = malloc(NUMBERS * sizeof(float));
    for (int round = 0; round < ROUNDS; round++) {
        WELL(realign_statistics_apply_to(shared->device, shared->statistics, shared->rows, NUMBERS, out, NUMBERS));
        CHECK(memcmp(out, shared->wanted, NUMBERS * sizeof(float)) == 0);
    }
    /* Half of the rows each, for the main thread to merge and free. */
    WELL(realign_moments_new(WIDTH, &task->moments));
    const float *half = shared->rows + task->number * (NUMBERS / 2);
    WELL(realign_moments_update(shared->device, task->moments, half, NUMBERS / 2));
    free(out);
    return NULL;
}

int main(void) {
    static float text[NUMBERS], image[NUMBERS], wanted[NUMBERS];
    fill(text, NUMBERS, 1);
    fill(image, NUMBERS, 2);
    RealignDevice *device = host();
    RealignStatistics *statistics = NULL;
    WELL(realign_statistics_fit(device, text, NUMBERS, image, NUMBERS, WIDTH, NULL, &statistics));
    WELL(realign_statistics_apply_to(device, statistics, text, NUMBERS, wanted, NUMBERS));
    Shared shared = {.device = device, .statistics = statistics, .rows = text, .wanted = wanted};
    CHECK(pthread_barrier_init(&shared.together, NULL, 2) == 0);
    Task tasks[2] = {{&shared, 0, NULL}, {&shared, 1, NULL}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, &tasks[i]) == 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(strcmp(realign_last_error_message(), "") == 0);
    RealignMoments *all = NULL;
    WELL(realign_moments_new(WIDTH, &all));
    WELL(realign_moments_update(device, all, text, NUMBERS));
    WELL(realign_moments_merge(tasks[1].moments, tasks[0].moments));
    CHECK(realign_moments_trace(tasks[1].moments) == realign_moments_trace(all));
    CHECK(realign_moments_rows(tasks[1].moments) == ROWS);
    realign_moments_free(all);
    realign_moments_free(tasks[0].moments);
    realign_moments_free(tasks[1].moments);
    realign_statistics_free(statistics);
    realign_device_free(device);
    pthread_barrier_destroy(&shared.together);
    puts("threads: passed");
    return 0;
}
