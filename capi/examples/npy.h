/* Just enough of .npy for the examples: f32, two dimensions, C order. */
#ifndef EXAMPLES_NPY_H
#define EXAMPLES_NPY_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Rows {
    size_t count, width;
    float *numbers;
} Rows;

/* Reads a file; says what is wrong and gives false where it cannot. Its numbers are freed with free(). */
static inline bool read_npy(const char *path, Rows *rows) {
    unsigned char start[10];
    char header[4096];
    bool read = false;
    *rows = (Rows){0, 0, NULL};
    FILE *file = fopen(path, "rb");
    if (file && fread(start, 1, sizeof start, file) == sizeof start && memcmp(start, "\x93NUMPY\x01", 7) == 0) {
        size_t length = start[8] + 256u * start[9];
        if (length < sizeof header && fread(header, 1, length, file) == length) {
            header[length] = 0;
            const char *shape = strstr(header, "'shape': (");
            bool plain = strstr(header, "'<f4'") && strstr(header, "'fortran_order': False");
            if (shape && plain && sscanf(shape, "'shape': (%zu, %zu)", &rows->count, &rows->width) == 2) {
                size_t numbers = rows->count * rows->width;
                rows->numbers = malloc(numbers * sizeof(float) + 1);
                read = rows->numbers && fread(rows->numbers, sizeof(float), numbers, file) == numbers;
            }
        }
    }
    if (file) {
        fclose(file);
    }
    if (!read) {
        fprintf(stderr, "%s: not read; it must be .npy of version 1 with f32 rows\n", path);
        free(rows->numbers);
        rows->numbers = NULL;
    }
    return read;
}

/* Writes a file. */
static inline bool write_npy(const char *path, const Rows *rows) {
    char header[128];
    int length = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                          rows->count, rows->width);
    while ((length + 1 + 10) % 64 != 0) {
        header[length++] = ' ';
    }
    header[length++] = '\n';
    unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)length, 0};
    size_t numbers = rows->count * rows->width;
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(start, 1, sizeof start, file) == sizeof start &&
                   fwrite(header, 1, (size_t)length, file) == (size_t)length &&
                   fwrite(rows->numbers, sizeof(float), numbers, file) == numbers;
    if (file && fclose(file) != 0) {
        written = false;
    }
    if (!written) {
        fprintf(stderr, "%s: not written\n", path);
    }
    return written;
}

#endif
