/* What a caller may do wrong: each time a status and a message, and nothing written that must not be.
 *
 * usage: misuse FOLDER, an empty folder
 */
#include <math.h>

#include "check.h"
#include "npy.h"

enum { WIDTH = 8, ROWS = 20, NUMBERS = WIDTH * ROWS };

static void devices(void) {
    RealignDevice *device = (RealignDevice *)&device;
    FAILS(realign_device_open("host", NULL), REALIGN_STATUS_NULL_POINTER, "out is null");
    FAILS(realign_device_open("\xff", &device), REALIGN_STATUS_UTF8, "name is not UTF-8: byte 0");
    CHECK(device == NULL);
    CHECK(realign_device_name(NULL) == NULL && realign_device_kind(NULL) == NULL);
    CHECK(realign_adapters_count(NULL) == 0 && realign_adapters_driver(NULL, 0) == NULL);
    realign_adapters_free(NULL);
    realign_device_free(NULL);
    device = host();
    CHECK(strcmp(realign_device_kind(device), "host engine") == 0);
    CHECK(strcmp(realign_device_backend(device), "host") == 0);
    realign_device_free(device);
}

static void fits(const RealignDevice *device, const float *text, const float *image) {
    RealignStatistics *out = NULL;
    RealignFitOptions options = {0};
#define FIT(device, source, source_len, target, target_len, width)                                                     \
    realign_statistics_fit(device, source, source_len, target, target_len, width, &options, &out)
    FAILS(FIT(NULL, text, NUMBERS, image, NUMBERS, WIDTH), REALIGN_STATUS_NULL_POINTER, "device is null");
    FAILS(FIT(device, NULL, NUMBERS, image, NUMBERS, WIDTH), REALIGN_STATUS_NULL_POINTER, "source is null");
    FAILS(FIT(device, text, NUMBERS, NULL, 1, WIDTH), REALIGN_STATUS_NULL_POINTER, "target is null");
    FAILS(FIT(device, text, NUMBERS - 1, image, NUMBERS, WIDTH), REALIGN_STATUS_SHAPE, "source");
    FAILS(FIT(device, text, NUMBERS, image, NUMBERS, WIDTH + 1), REALIGN_STATUS_SHAPE, "whole rows of 9");
    FAILS(FIT(device, text, NUMBERS, image, NUMBERS, 0), REALIGN_STATUS_SHAPE, "source");
    FAILS(FIT(device, text, NUMBERS, image, SIZE_MAX, WIDTH), REALIGN_STATUS_SHAPE, "target cannot hold");
    FAILS(FIT(device, NULL, 0, image, NUMBERS, WIDTH), REALIGN_STATUS_DEGENERATE, "source has no rows");
    FAILS(FIT(device, text, WIDTH, image, NUMBERS, WIDTH), REALIGN_STATUS_DEGENERATE, "allow_degenerate");
    const float *odd = (const float *)((const char *)text + 1);
    FAILS(FIT(device, odd, WIDTH, image, NUMBERS, WIDTH), REALIGN_STATUS_ARGUMENT, "source is not aligned");
    options.method = "magic";
    FAILS(FIT(device, text, NUMBERS, image, NUMBERS, WIDTH), REALIGN_STATUS_ARGUMENT, "anchor-trace");
    options.method = "ridge";
    FAILS(FIT(device, text, NUMBERS, image, NUMBERS, WIDTH), REALIGN_STATUS_ARGUMENT, "paired");
    options.method = NULL;
    options.centroid = "often";
    FAILS(FIT(device, text, NUMBERS, image, NUMBERS, WIDTH), REALIGN_STATUS_ARGUMENT, "often");
    options.centroid = "\xc3";
    FAILS(FIT(device, text, NUMBERS, image, NUMBERS, WIDTH), REALIGN_STATUS_UTF8, "centroid");
    options.centroid = NULL;
    float bad[NUMBERS];
    memcpy(bad, text, sizeof bad);
    bad[3 * WIDTH + 2] = NAN;
    FAILS(FIT(device, bad, NUMBERS, image, NUMBERS, WIDTH), REALIGN_STATUS_NON_FINITE, "row 3, column 2");
    CHECK(out == NULL);
    FAILS(realign_statistics_fit(device, text, NUMBERS, image, NUMBERS, WIDTH, NULL, NULL), REALIGN_STATUS_NULL_POINTER,
          "out is null");
}

static void rows(const RealignDevice *device, const RealignStatistics *statistics, const float *text) {
    float given[NUMBERS], out[NUMBERS + 1], in_place[NUMBERS];
    memcpy(given, text, sizeof given);
    for (size_t i = 0; i <= NUMBERS; i++) {
        out[i] = 7;
    }
    FAILS(realign_statistics_apply_to(device, statistics, given, NUMBERS, out, NUMBERS - 1), REALIGN_STATUS_SHAPE,
          "out has room for 159 values, and 160");
    FAILS(realign_statistics_apply_to(device, statistics, given, NUMBERS, NULL, NUMBERS), REALIGN_STATUS_NULL_POINTER, "out");
    FAILS(realign_statistics_apply_to(device, statistics, given, NUMBERS, given, NUMBERS), REALIGN_STATUS_ARGUMENT, "overlap");
    FAILS(realign_statistics_apply_to(device, statistics, given, WIDTH, given + WIDTH - 1, WIDTH), REALIGN_STATUS_ARGUMENT,
          "overlap");
    FAILS(realign_statistics_apply_to(device, NULL, given, NUMBERS, out, NUMBERS), REALIGN_STATUS_NULL_POINTER, "statistics");
    FAILS(realign_statistics_apply(device, statistics, given, NUMBERS - 1), REALIGN_STATUS_SHAPE, "whole rows of 8");
    FAILS(realign_statistics_apply(device, statistics, NULL, NUMBERS), REALIGN_STATUS_NULL_POINTER, "rows is null");
    CHECK(out[0] == 7 && memcmp(given, text, sizeof given) == 0);
    /* A bad row: rows in place stay as they were. */
    given[NUMBERS - 1] = INFINITY;
    memcpy(in_place, given, sizeof given);
    FAILS(realign_statistics_apply(device, statistics, in_place, NUMBERS), REALIGN_STATUS_NON_FINITE, "row 19, column 7");
    CHECK(memcmp(given, in_place, sizeof given) == 0);
    /* Right: in place and elsewhere have the same bits, a buffer may be longer, no rows are no error, neighbours are no overlap. */
    memcpy(in_place, text, sizeof in_place);
    WELL(realign_statistics_apply(device, statistics, in_place, NUMBERS));
    WELL(realign_statistics_apply_to(device, statistics, text, NUMBERS, out, NUMBERS + 1));
    CHECK(memcmp(out, in_place, sizeof in_place) == 0 && out[NUMBERS] == 7);
    CHECK(memcmp(out, text, sizeof in_place) != 0);
    WELL(realign_statistics_apply_to(device, statistics, NULL, 0, NULL, 0));
    WELL(realign_statistics_apply_to(device, statistics, out, WIDTH, out + WIDTH, WIDTH));
}

static void files(const RealignStatistics *statistics, const char *folder) {
    RealignStatistics *read = NULL;
    FAILS(realign_statistics_load(in(folder, "none.safetensors"), &read), REALIGN_STATUS_IO, "none.safetensors");
    FAILS(realign_statistics_load(NULL, &read), REALIGN_STATUS_NULL_POINTER, "path is null");
    FAILS(realign_statistics_load("\xf0\x28", &read), REALIGN_STATUS_UTF8, "path");
    WELL(realign_statistics_save(statistics, in(folder, "S.safetensors"), false));
    FAILS(realign_statistics_save(statistics, in(folder, "S.safetensors"), false), REALIGN_STATUS_OUTPUT_EXISTS,
          "pass true for overwrite");
    WELL(realign_statistics_save(statistics, in(folder, "S.safetensors"), true));
    FAILS(realign_statistics_save(statistics, in(folder, "no/such/folder"), false), REALIGN_STATUS_FORMAT, "create it first");
    RealignMoments *moments = NULL;
    FAILS(realign_moments_load(in(folder, "S.safetensors"), &moments), REALIGN_STATUS_FORMAT, "operator");
    FILE *file = fopen(in(folder, "damaged.safetensors"), "wb");
    CHECK(file != NULL && fputs("damaged", file) >= 0 && fclose(file) == 0);
    FAILS(realign_statistics_load(in(folder, "damaged.safetensors"), &read), REALIGN_STATUS_FORMAT, "damaged");
    CHECK(read == NULL);
    WELL(realign_statistics_load(in(folder, "S.safetensors"), &read));
    CHECK(realign_statistics_width(read) == WIDTH && realign_statistics_gap(read) == realign_statistics_gap(statistics));
    CHECK(strcmp(realign_statistics_method(read), "realign") == 0);
    realign_statistics_free(read);
    realign_statistics_free(NULL);
    CHECK(realign_statistics_width(NULL) == 0 && isnan(realign_statistics_gap(NULL)));
}

static void moments(const RealignDevice *device, const float *text, const char *folder) {
    RealignMoments *all = NULL, *part = NULL, *read = NULL;
    FAILS(realign_moments_new(0, &all), REALIGN_STATUS_SHAPE, "0 numbers");
    FAILS(realign_moments_new(SIZE_MAX, &all), REALIGN_STATUS_SHAPE, "give 1 to");
    FAILS(realign_moments_new((size_t)1 << 40, &all), REALIGN_STATUS_SHAPE, "give 1 to");
    WELL(realign_moments_new(WIDTH, &all));
    WELL(realign_moments_new(WIDTH, &part));
    FAILS(realign_moments_update(device, all, text, WIDTH + 1), REALIGN_STATUS_SHAPE, "whole rows of 8");
    FAILS(realign_moments_update(device, NULL, text, WIDTH), REALIGN_STATUS_NULL_POINTER, "moments is null");
    float bad[2 * WIDTH] = {0};
    bad[WIDTH] = -INFINITY;
    FAILS(realign_moments_update(device, all, bad, 2 * WIDTH), REALIGN_STATUS_NON_FINITE, "row 1, column 0");
    CHECK(realign_moments_rows(all) == 0);
    /* Parts in another order have the bits of the whole. */
    WELL(realign_moments_update(device, all, text, NUMBERS));
    WELL(realign_moments_update(device, part, text + 5 * WIDTH, NUMBERS - 5 * WIDTH));
    FAILS(realign_moments_merge(part, part), REALIGN_STATUS_ARGUMENT, "the same moments");
    RealignMoments *first = NULL, *other = NULL;
    WELL(realign_moments_new(WIDTH, &first));
    WELL(realign_moments_update(device, first, text, 5 * WIDTH));
    WELL(realign_moments_merge(part, first));
    WELL(realign_moments_new(WIDTH + 1, &other));
    FAILS(realign_moments_merge(part, other), REALIGN_STATUS_SHAPE, "width 8");
    CHECK(realign_moments_rows(part) == ROWS && realign_moments_width(part) == WIDTH);
    CHECK(realign_moments_trace(part) == realign_moments_trace(all) && realign_moments_trace(all) > 0);
    double mean[WIDTH], mean_of_parts[WIDTH];
    FAILS(realign_moments_mean(all, mean, WIDTH - 1), REALIGN_STATUS_SHAPE, "room for 7");
    WELL(realign_moments_mean(all, mean, WIDTH));
    WELL(realign_moments_mean(part, mean_of_parts, WIDTH));
    CHECK(memcmp(mean, mean_of_parts, sizeof mean) == 0);
    /* As bytes and as a file: the same. */
    size_t needed = 0, other_needed = 0;
    WELL(realign_moments_to_bytes(all, NULL, 0, &needed));
    uint8_t *bytes = malloc(needed);
    FAILS(realign_moments_to_bytes(all, bytes, needed - 1, &other_needed), REALIGN_STATUS_SHAPE, "bytes has room");
    FAILS(realign_moments_to_bytes(all, bytes, needed, NULL), REALIGN_STATUS_NULL_POINTER, "needed is null");
    CHECK(needed > 0 && other_needed == needed);
    WELL(realign_moments_to_bytes(all, bytes, needed, &needed));
    FAILS(realign_moments_from_bytes(bytes, needed - 1, &read), REALIGN_STATUS_FORMAT, "damaged");
    FAILS(realign_moments_from_bytes(NULL, 0, &read), REALIGN_STATUS_FORMAT, "in memory");
    WELL(realign_moments_from_bytes(bytes, needed, &read));
    CHECK(realign_moments_trace(read) == realign_moments_trace(all));
    WELL(realign_moments_save(part, in(folder, "M.safetensors"), true));
    /* For the command line, which counts the same rows. */
    float copy[NUMBERS];
    memcpy(copy, text, sizeof copy);
    const Rows counted = {ROWS, WIDTH, copy};
    CHECK(write_npy(in(folder, "text.npy"), &counted));
    FILE *file = fopen(in(folder, "M.safetensors"), "rb");
    uint8_t *saved = malloc(needed + 1);
    CHECK(file != NULL && fread(saved, 1, needed + 1, file) == needed && memcmp(saved, bytes, needed) == 0);
    fclose(file);
    free(saved);
    free(bytes);
    realign_moments_free(read);
    WELL(realign_moments_load(in(folder, "M.safetensors"), &read));
    RealignMoments *freed[] = {all, part, first, other, read, NULL};
    for (size_t i = 0; i < sizeof freed / sizeof *freed; i++) {
        realign_moments_free(freed[i]);
    }
}

static void fits_to_moments(const RealignDevice *device, const RealignStatistics *wanted, const float *text,
                            const float *image, const char *folder) {
    RealignMoments *source = NULL, *target = NULL;
    RealignStatistics *fitted = NULL;
    WELL(realign_moments_new(WIDTH, &source));
    WELL(realign_moments_new(WIDTH, &target));
    WELL(realign_moments_update(device, source, text, NUMBERS));
    WELL(realign_moments_update(device, target, image, NUMBERS));
    FAILS(realign_statistics_fit_moments(device, source, target, NULL, 0, NULL, &fitted), REALIGN_STATUS_ARGUMENT,
          "anchor-trace");
    FAILS(realign_statistics_fit_moments(device, source, target, text, NUMBERS - WIDTH, NULL, &fitted),
          REALIGN_STATUS_SHAPE, "as its moments");
    WELL(realign_statistics_fit_moments(device, source, target, text, NUMBERS, NULL, &fitted));
    float one[NUMBERS], two[NUMBERS];
    WELL(realign_statistics_apply_to(device, wanted, text, NUMBERS, one, NUMBERS));
    WELL(realign_statistics_apply_to(device, fitted, text, NUMBERS, two, NUMBERS));
    CHECK(memcmp(one, two, sizeof one) == 0);
    realign_statistics_free(fitted);
    RealignFitOptions options = {0};
    options.method = "anchor-trace";
    WELL(realign_statistics_fit_moments(device, source, target, NULL, 0, &options, &fitted));
    WELL(realign_statistics_save(fitted, in(folder, "anchor.safetensors"), true));
    realign_statistics_free(fitted);
    realign_moments_free(source);
    realign_moments_free(target);
}

static void hear(const char *text, void *data) {
    snprintf(data, 256, "%s", text);
}

/* A collection of 200 copies of one row and few others: a warning, for those who listen. */
static void warnings(const RealignDevice *device, const float *text) {
    static float copies[NUMBERS + 200 * WIDTH];
    memcpy(copies, text, NUMBERS * sizeof(float));
    for (size_t i = NUMBERS; i < NUMBERS + 200 * WIDTH; i++) {
        copies[i] = text[i % WIDTH];
    }
    RealignNamedRows named = {"copies", copies, NUMBERS + 200 * WIDTH};
    RealignRanking *ranking = NULL;
    WELL(realign_ranking_fit(device, &named, 1, NULL, 0, WIDTH, 0, 0, &ranking));
    char heard[256] = "";
    float raw = 0.5f;
    double score;
#define ONE_SCORE realign_ranking_scores(ranking, text, WIDTH, "copies", &raw, 1, &score, 1)
    WELL(realign_set_on_warning(hear, heard));
    WELL(ONE_SCORE);
    CHECK(strstr(heard, "\"copies\" has so many copies of few rows") != NULL);
    realign_ranking_free(ranking);
    /* NULL: nobody hears it. A ranking warns when it prepares a collection, so that this is another one. */
    heard[0] = 0;
    WELL(realign_set_on_warning(NULL, NULL));
    WELL(realign_ranking_fit(device, &named, 1, NULL, 0, WIDTH, 0, 0, &ranking));
    WELL(ONE_SCORE);
    CHECK(heard[0] == 0);
    realign_ranking_free(ranking);
}

static void rankings(const RealignDevice *device, const float *text, const float *image, const char *folder) {
    RealignNamedRows named[2] = {{"text", text, NUMBERS}, {"image", image, NUMBERS}};
    RealignRanking *ranking = NULL, *read = NULL;
#define RANK(named, count) realign_ranking_fit(device, named, count, NULL, 0, WIDTH, 0, 0, &ranking)
    FAILS(RANK(NULL, 0), REALIGN_STATUS_ARGUMENT, "collection");
    FAILS(RANK(NULL, 1), REALIGN_STATUS_NULL_POINTER, "collections is null");
    named[1].rows = NULL;
    FAILS(RANK(named, 2), REALIGN_STATUS_NULL_POINTER, "collections[1].rows");
    named[1].rows = image;
    named[0].name = NULL;
    FAILS(RANK(named, 2), REALIGN_STATUS_NULL_POINTER, "collections[0].name");
    named[0].name = "two words";
    FAILS(RANK(named, 2), REALIGN_STATUS_ARGUMENT, "two words");
    named[0].name = "text";
    WELL(RANK(named, 2));
    float raw[3] = {0.5f, -0.25f, 0.9f};
    double scores[3];
#define SCORES(query_len, name, out_len)                                                                               \
    realign_ranking_scores(ranking, text, query_len, name, raw, 3, scores, out_len)
    FAILS(SCORES(WIDTH - 1, "image", 3), REALIGN_STATUS_SHAPE, "one row of 8");
    FAILS(SCORES(2 * WIDTH, "image", 3), REALIGN_STATUS_SHAPE, "one row of 8");
    FAILS(SCORES(0, "image", 3), REALIGN_STATUS_SHAPE, "one row of 8");
    FAILS(SCORES(WIDTH, "film", 3), REALIGN_STATUS_ARGUMENT, "film");
    FAILS(SCORES(WIDTH, NULL, 3), REALIGN_STATUS_NULL_POINTER, "collection");
    FAILS(SCORES(WIDTH, "image", 2), REALIGN_STATUS_SHAPE, "room for 2 values, and 3");
    WELL(SCORES(WIDTH, "image", 3));
    CHECK(scores[2] >= scores[0] && scores[0] >= scores[1]);
    raw[1] = 3;
    FAILS(SCORES(WIDTH, "image", 3), REALIGN_STATUS_ARGUMENT, "no dot product");
    raw[1] = NAN;
    FAILS(SCORES(WIDTH, "image", 3), REALIGN_STATUS_SHAPE, "NaN");
    WELL(realign_ranking_save(ranking, in(folder, "R.safetensors"), false));
    FAILS(realign_ranking_save(ranking, in(folder, "R.safetensors"), false), REALIGN_STATUS_OUTPUT_EXISTS, "overwrite");
    WELL(realign_ranking_load(in(folder, "R.safetensors"), &read));
    CHECK(realign_ranking_width(read) == WIDTH && realign_ranking_width(NULL) == 0);
    realign_ranking_free(read);
    realign_ranking_free(ranking);
    realign_ranking_free(NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && realign_abi_version() == REALIGN_ABI && realign_version()[0] != 0);
    CHECK(strcmp(realign_last_error_message(), "") == 0);
    CHECK(strcmp(realign_status_name(REALIGN_STATUS_PANIC), "panic") == 0);
    CHECK(strcmp(realign_status_name(12345), "unknown") == 0);
    float text[NUMBERS], image[NUMBERS];
    fill(text, NUMBERS, 1);
    fill(image, NUMBERS, 2);
    devices();
    RealignDevice *device = host();
    fits(device, text, image);
    RealignStatistics *statistics = NULL;
    WELL(realign_statistics_fit(device, text, NUMBERS, image, NUMBERS, WIDTH, NULL, &statistics));
    rows(device, statistics, text);
    files(statistics, argv[1]);
    moments(device, text, argv[1]);
    fits_to_moments(device, statistics, text, image, argv[1]);
    rankings(device, text, image, argv[1]);
    warnings(device, text);
    realign_statistics_free(statistics);
    realign_device_free(device);
    puts("misuse: passed");
    return 0;
}
