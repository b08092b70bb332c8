/* Fits the operator that moves texts' embeddings into the cloud of images, and applies it.
 *
 * cc -std=c11 -Icapi/include capi/examples/align.c -Ltarget/release -lrealign_c -Wl,-rpath,$PWD/target/release -o align
 * ./align TEXT.npy IMAGE.npy S.safetensors ALIGNED.npy [DEVICE]
 */
#include "npy.h"
#include "realign.h"

/* Whether a call went well; if not, says why. */
static bool well(RealignStatus status) {
    if (status != REALIGN_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", realign_status_name(status), realign_last_error_message());
    }
    return status == REALIGN_STATUS_OK;
}

/* Distance of two means, each of rows brought to length 1. */
static bool mean_of(const RealignDevice *device, const Rows *rows, double *mean) {
    RealignMoments *moments = NULL;
    bool done = well(realign_moments_new(rows->width, &moments)) &&
                well(realign_moments_update(device, moments, rows->numbers, rows->count * rows->width)) &&
                well(realign_moments_mean(moments, mean, rows->width));
    realign_moments_free(moments);
    return done;
}

static double square_distance(const double *a, const double *b, size_t width) {
    double sum = 0;
    for (size_t i = 0; i < width; i++) {
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return sum;
}

static bool align(char **files, const RealignDevice *device, Rows *text, const Rows *image) {
    RealignStatistics *statistics = NULL;
    double *mean_text = calloc(text->width, sizeof(double)), *mean_image = calloc(image->width, sizeof(double));
    /* All zeros: ReAlign as published. */
    RealignFitOptions options = {0};
    options.centroid = "exact";
    bool done =
        mean_text && mean_image &&
        well(realign_statistics_fit(device, text->numbers, text->count * text->width, image->numbers,
                                    image->count * image->width, text->width, &options, &statistics)) &&
        well(realign_statistics_save(statistics, files[2], true)) &&
        well(realign_statistics_apply(device, statistics, text->numbers, text->count * text->width)) &&
        write_npy(files[3], text) && mean_of(device, text, mean_text) && mean_of(device, image, mean_image);
    if (done) {
        printf("%s on %s: %zu rows; gap %.3f before, its square %.1e after\n", realign_statistics_method(statistics),
               realign_device_name(device), text->count, realign_statistics_gap(statistics),
               square_distance(mean_text, mean_image, text->width));
    }
    realign_statistics_free(statistics);
    free(mean_text);
    free(mean_image);
    return done;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: align TEXT.npy IMAGE.npy S.safetensors ALIGNED.npy [DEVICE]\n");
        return 2;
    }
    if (realign_abi_version() != REALIGN_ABI) {
        fprintf(stderr, "realign.h and the library are of different versions\n");
        return 1;
    }
    Rows text, image = {0, 0, NULL};
    RealignDevice *device = NULL;
    bool done = read_npy(argv[1], &text) && read_npy(argv[2], &image) &&
                well(realign_device_open(argc > 5 ? argv[5] : NULL, &device)) && align(argv + 1, device, &text, &image);
    realign_device_free(device);
    free(text.numbers);
    free(image.numbers);
    return done ? 0 : 1;
}
