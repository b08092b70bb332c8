/* Encoders and assistants on tiny models: rows by two ways, answers by three, callbacks that stop, what does not fit.
 *
 * usage: answers TOWER_DIR ADAPTER.safetensors MODEL_DIR PICTURE [DEVICE]
 */
#include <math.h>

#include "check.h"

enum { SIDE = 48, MANY = 211 };

typedef struct Heard {
    char text[8192];
    size_t length;
    int calls, most;
} Heard;

static int32_t hear(const char *text, size_t length, void *data) {
    Heard *heard = data;
    /* A model may say NUL, too: lengths count. */
    CHECK(text[length] == 0 && length > 0);
    CHECK(heard->length + length < sizeof heard->text);
    memcpy(heard->text + heard->length, text, length + 1);
    heard->length += length;
    heard->calls++;
    return heard->most != 0 && heard->calls >= heard->most;
}

static bool same(const Heard *a, const Heard *b) {
    return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/* Polls an answer to its end. */
static RealignEnd poll_all(RealignAnswer *answer, Heard *heard) {
    RealignReply reply = REALIGN_REPLY_WAITING;
    while (reply != REALIGN_REPLY_DONE) {
        const char *text = NULL;
        size_t length = 99;
        CHECK(realign_answer_end(answer) == REALIGN_END_NONE);
        WELL(realign_answer_poll(answer, &reply, &text, &length));
        CHECK((reply == REALIGN_REPLY_TEXT) == (length > 0) && text[length] == 0);
        if (length > 0) {
            hear(text, length, heard);
        }
    }
    WELL(realign_answer_poll(answer, &reply, NULL, NULL));
    CHECK(reply == REALIGN_REPLY_DONE);
    return realign_answer_end(answer);
}

static void encodes(const RealignImageEncoder *encoder, const char *picture, const uint8_t *rgb, float *row) {
    size_t width = realign_image_encoder_width(encoder);
    const char *paths[3] = {picture, picture, picture}, *missing[2] = {picture, "no/such/picture.png"}, *null[1] = {NULL};
    float *rows = malloc(3 * width * sizeof(float));
    FAILS(realign_image_encoder_encode_files(encoder, paths, 3, rows, 3 * width - 1), REALIGN_STATUS_SHAPE, "out has room");
    FAILS(realign_image_encoder_encode_files(encoder, missing, 2, rows, 2 * width), REALIGN_STATUS_IO, "no/such/picture.png");
    FAILS(realign_image_encoder_encode_files(encoder, null, 1, rows, width), REALIGN_STATUS_NULL_POINTER, "paths[0]");
    FAILS(realign_image_encoder_encode_files(encoder, paths, SIZE_MAX / 2, rows, width), REALIGN_STATUS_SHAPE, "paths cannot hold");
    free(rows);
    /* More than a batch on the host engine takes: each row is where it belongs. */
    static const char *many[MANY];
    for (size_t i = 0; i < MANY; i++) {
        many[i] = picture;
    }
    rows = calloc(MANY * width, sizeof(float));
    WELL(realign_image_encoder_encode_files(encoder, many, MANY, rows, MANY * width));
    for (size_t i = 0; i < MANY * width; i++) {
        CHECK(fabsf(rows[i] - rows[i % width]) < 1e-5f && isfinite(rows[i]) && rows[i] != 0);
    }
    WELL(realign_image_encoder_encode_files(encoder, NULL, 0, NULL, 0));
    size_t bytes = 3 * SIDE * SIDE;
    FAILS(realign_image_encoder_encode_rgb(encoder, rgb, bytes - 1, SIDE, SIDE, row, width), REALIGN_STATUS_SHAPE, "rgb");
    FAILS(realign_image_encoder_encode_rgb(encoder, rgb, bytes, SIDE, SIDE, row, width - 1), REALIGN_STATUS_SHAPE, "out");
    FAILS(realign_image_encoder_encode_rgb(encoder, NULL, 0, 0, 0, row, width), REALIGN_STATUS_SHAPE, "above 0");
    FAILS(realign_image_encoder_encode_rgb(encoder, rgb, bytes, SIZE_MAX, SIDE, row, width), REALIGN_STATUS_SHAPE, "rgb");
    WELL(realign_image_encoder_encode_rgb(encoder, rgb, bytes, SIDE, SIDE, row, width));
    free(rows);
}

static void encodes_texts(const RealignDevice *device, const char *folder) {
    RealignTextEncoder *encoder = NULL;
    FAILS(realign_text_encoder_load(device, "no/such/folder", NULL, false, &encoder), REALIGN_STATUS_IO, "no/such/folder");
    WELL(realign_text_encoder_load(device, folder, NULL, true, &encoder));
    size_t width = realign_text_encoder_width(encoder), cut = 99;
    const char *texts[2] = {"a cat", "a dog"}, *bad[2] = {"a cat", "\xe4"};
    float *rows = malloc(2 * width * sizeof(float));
    FAILS(realign_text_encoder_encode(encoder, bad, 2, rows, 2 * width, &cut), REALIGN_STATUS_UTF8, "texts[1]");
    FAILS(realign_text_encoder_encode(encoder, texts, 2, rows, 2 * width - 1, &cut), REALIGN_STATUS_SHAPE, "out");
    WELL(realign_text_encoder_encode(encoder, texts, 2, rows, 2 * width, &cut));
    double square = 0;
    for (size_t i = 0; i < width; i++) {
        square += (double)rows[i] * rows[i];
    }
    CHECK(cut == 0 && fabs(square - 1) < 1e-5 && memcmp(rows, rows + width, width * sizeof(float)) != 0);
    WELL(realign_text_encoder_encode(encoder, texts, 2, rows, 2 * width, NULL));
    free(rows);
    realign_text_encoder_free(encoder);
    realign_text_encoder_free(NULL);
}

static void refuses(const RealignAssistant *assistant, const RealignImageEncoder *encoder, const float *row) {
    size_t width = realign_assistant_width(assistant);
    Heard heard = {0};
    RealignAnswer *answer = NULL;
    RealignAnswerOptions options = {0};
#define ASK(embedding, len, question) realign_assistant_ask(assistant, embedding, len, question, &options, hear, &heard, NULL)
    FAILS(ASK(row, width - 1, "What?"), REALIGN_STATUS_SHAPE, "width");
    FAILS(ASK(NULL, width, "What?"), REALIGN_STATUS_NULL_POINTER, "embedding is null");
    FAILS(ASK(row, width, NULL), REALIGN_STATUS_NULL_POINTER, "question is null");
    FAILS(ASK(row, width, "\xff"), REALIGN_STATUS_UTF8, "question");
    float *bad = calloc(width, sizeof(float));
    bad[1] = NAN;
    FAILS(ASK(bad, width, "What?"), REALIGN_STATUS_ARGUMENT, "number 1 is NaN");
    options.temperature = -1;
    FAILS(ASK(row, width, "What?"), REALIGN_STATUS_ARGUMENT, "temperature");
    FAILS(realign_assistant_ask(assistant, row, width, "What?", NULL, NULL, NULL, NULL), REALIGN_STATUS_NULL_POINTER, "on_text");
    CHECK(heard.calls == 0);
    FAILS(realign_assistant_start(assistant, bad, width, "What?", NULL, &answer), REALIGN_STATUS_ARGUMENT, "NaN");
    FAILS(realign_assistant_start_rgb(assistant, encoder, NULL, 0, 0, 0, "What?", NULL, &answer), REALIGN_STATUS_SHAPE, "rgb");
    FAILS(realign_assistant_start_rgb(assistant, NULL, NULL, 0, 0, 0, "What?", NULL, &answer), REALIGN_STATUS_NULL_POINTER,
          "encoder is null");
    CHECK(answer == NULL && realign_answer_end(NULL) == REALIGN_END_NONE);
    FAILS(realign_answer_poll(NULL, NULL, NULL, NULL), REALIGN_STATUS_NULL_POINTER, "answer is null");
    free(bad);
}

/* A picture's pixels and an encoder of another device: the answer fails when it gets there, and stays so. */
static void fails_late(RealignAssistant *assistant, const char *folder, const uint8_t *rgb) {
    RealignDevice *other = host();
    RealignImageEncoder *encoder = NULL;
    RealignAnswer *answer = NULL;
    WELL(realign_image_encoder_load(other, folder, false, &encoder));
    WELL(realign_assistant_start_rgb(assistant, encoder, rgb, 3 * SIDE * SIDE, SIDE, SIDE, "What?", NULL, &answer));
    RealignReply reply = REALIGN_REPLY_WAITING;
    RealignStatus status = REALIGN_STATUS_OK;
    while (status == REALIGN_STATUS_OK && reply != REALIGN_REPLY_DONE) {
        status = realign_answer_poll(answer, &reply, NULL, NULL);
    }
    CHECK(status == REALIGN_STATUS_SHAPE && strstr(realign_last_error_message(), "on the model's device") != NULL);
    FAILS(realign_answer_poll(answer, &reply, NULL, NULL), REALIGN_STATUS_ARGUMENT, "has failed before");
    realign_answer_free(answer);
    realign_image_encoder_free(encoder);
    realign_device_free(other);
}

static void answers(RealignAssistant *assistant, const RealignImageEncoder *encoder, const uint8_t *rgb, const float *row) {
    size_t width = realign_assistant_width(assistant);
    static Heard at_once, in_frames, of_pixels, stopped, shorter, of_text;
    RealignEnd end = REALIGN_END_NONE;
    WELL(realign_assistant_ask(assistant, row, width, "What is it?", NULL, hear, &at_once, &end));
    CHECK(at_once.calls > 1 && end != REALIGN_END_NONE && end != REALIGN_END_STOPPED);
    /* A callback that asks to stop is heard. */
    stopped.most = 1;
    RealignEnd stop = REALIGN_END_NONE;
    WELL(realign_assistant_ask(assistant, row, width, "What is it?", NULL, hear, &stopped, &stop));
    CHECK(stop == REALIGN_END_STOPPED && stopped.calls == 1 && memcmp(at_once.text, stopped.text, stopped.length) == 0);
    RealignAnswerOptions options = {0};
    options.max_tokens = 2;
    WELL(realign_assistant_ask(assistant, row, width, "What is it?", &options, hear, &shorter, &stop));
    CHECK(stop == REALIGN_END_LENGTH && shorter.length < at_once.length);
    WELL(realign_assistant_ask(assistant, NULL, 0, "What is it?", &options, hear, &of_text, NULL));
    /* In frames: the same text; one from the embedding, one from the pixels; the assistant goes before its answers do. */
    RealignAnswer *of_row = NULL, *of_rgb = NULL, *left = NULL;
    WELL(realign_assistant_start(assistant, row, width, "What is it?", NULL, &of_row));
    WELL(realign_assistant_start_rgb(assistant, encoder, rgb, 3 * SIDE * SIDE, SIDE, SIDE, "What is it?", NULL, &of_rgb));
    WELL(realign_assistant_start(assistant, row, width, "What is it?", NULL, &left));
    RealignReply reply;
    WELL(realign_answer_poll(left, &reply, NULL, NULL));
    realign_assistant_free(assistant);
    realign_answer_free(left);
    CHECK(poll_all(of_rgb, &of_pixels) == end && same(&of_pixels, &at_once));
    CHECK(poll_all(of_row, &in_frames) == end && same(&in_frames, &at_once));
    realign_answer_free(of_row);
    realign_answer_free(of_rgb);
    realign_answer_free(NULL);
}

int main(int argc, char **argv) {
    CHECK(argc >= 5);
    RealignDevice *device = NULL;
    WELL(realign_device_open(argc > 5 ? argv[5] : "host", &device));
    encodes_texts(device, argv[1]);
    RealignImageEncoder *encoder = NULL;
    RealignAssistant *assistant = NULL;
    FAILS(realign_image_encoder_load(device, "no/such/folder", false, &encoder), REALIGN_STATUS_IO, "no/such/folder");
    FAILS(realign_assistant_load(device, argv[3], "no/such/adapter", &assistant), REALIGN_STATUS_IO, "no/such/adapter");
    CHECK(encoder == NULL && assistant == NULL);
    WELL(realign_assistant_load(device, argv[3], argv[2], &assistant));
    WELL(realign_image_encoder_load(device, argv[1], realign_assistant_unit_rows(assistant) == 1, &encoder));
    CHECK(realign_assistant_width(assistant) == realign_image_encoder_width(encoder));
    /* What was made on a device keeps it. */
    realign_device_free(device);
    static uint8_t rgb[3 * SIDE * SIDE];
    for (size_t i = 0; i < sizeof rgb; i++) {
        rgb[i] = (uint8_t)(i * 7 % 251);
    }
    float *row = malloc(realign_image_encoder_width(encoder) * sizeof(float));
    encodes(encoder, argv[4], rgb, row);
    refuses(assistant, encoder, row);
    fails_late(assistant, argv[1], rgb);
    answers(assistant, encoder, rgb, row);
    free(row);
    realign_image_encoder_free(encoder);
    realign_image_encoder_free(NULL);
    realign_assistant_free(NULL);
    puts("answers: passed");
    return 0;
}
