/* A search over two collections, texts and images, whose scores come on one scale.
 *
 * The dot products are a database's work; here a loop stands for it.
 *
 * cc -std=c11 -Icapi/include capi/examples/search.c -Ltarget/release -lrealign_c -lm -Wl,-rpath,$PWD/target/release -o search
 * ./search TEXT.npy IMAGE.npy QUERIES.npy R.safetensors
 */
#include <math.h>

#include "npy.h"
#include "realign.h"

static bool well(RealignStatus status) {
    if (status != REALIGN_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", realign_status_name(status), realign_last_error_message());
    }
    return status == REALIGN_STATUS_OK;
}

/* Brings every row to length 1. */
static void normalise(Rows *rows) {
    for (size_t i = 0; i < rows->count; i++) {
        float *row = rows->numbers + i * rows->width;
        double square = 0;
        for (size_t j = 0; j < rows->width; j++) {
            square += (double)row[j] * row[j];
        }
        for (size_t j = 0; j < rows->width && square > 0; j++) {
            row[j] = (float)(row[j] / sqrt(square));
        }
    }
}

static void dot_products(const Rows *rows, const float *query, float *out) {
    for (size_t i = 0; i < rows->count; i++) {
        double sum = 0;
        for (size_t j = 0; j < rows->width; j++) {
            sum += (double)rows->numbers[i * rows->width + j] * query[j];
        }
        out[i] = (float)sum;
    }
}

/* Prints a query's best item of a collection. */
static bool best_of(const RealignRanking *ranking, const Rows *rows, const char *name, const float *query) {
    float *raw = malloc(rows->count * sizeof(float) + 1);
    double *scores = malloc(rows->count * sizeof(double) + 1);
    bool done = raw && scores;
    if (done) {
        dot_products(rows, query, raw);
        done = well(realign_ranking_scores(ranking, query, rows->width, name, raw, rows->count, scores, rows->count));
    }
    size_t best = 0;
    for (size_t i = 1; done && i < rows->count; i++) {
        best = raw[i] > raw[best] ? i : best;
    }
    if (done && rows->count > 0) {
        printf(" %s %zu %.4f (raw %.4f)", name, best, scores[best], raw[best]);
    }
    free(raw);
    free(scores);
    return done;
}

static bool search(const char *path, Rows *text, Rows *image, Rows *queries) {
    RealignDevice *device = NULL;
    RealignRanking *ranking = NULL;
    const RealignNamedRows collections[2] = {{"text", text->numbers, text->count * text->width},
                                             {"image", image->numbers, image->count * image->width}};
    bool done = well(realign_device_open("host", &device)) &&
                well(realign_ranking_fit(device, collections, 2, NULL, 0, text->width, 0, 0, &ranking)) &&
                well(realign_ranking_save(ranking, path, true));
    normalise(text);
    normalise(image);
    normalise(queries);
    for (size_t i = 0; done && i < queries->count && i < 10; i++) {
        const float *query = queries->numbers + i * queries->width;
        printf("%zu:", i);
        done = best_of(ranking, text, "text", query) && best_of(ranking, image, "image", query);
        printf("\n");
    }
    realign_ranking_free(ranking);
    realign_device_free(device);
    return done;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: search TEXT.npy IMAGE.npy QUERIES.npy R.safetensors\n");
        return 2;
    }
    Rows text, image = {0, 0, NULL}, queries = {0, 0, NULL};
    bool done = read_npy(argv[1], &text) && read_npy(argv[2], &image) && read_npy(argv[3], &queries) &&
                search(argv[4], &text, &image, &queries);
    free(text.numbers);
    free(image.numbers);
    free(queries.numbers);
    return done ? 0 : 1;
}
