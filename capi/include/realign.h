/*
 * realign for C and C++: see docs/c.md.
 *
 * Made from capi/src by tools/header, and not to be changed by hand.
 *
 * Errors. A function that can fail returns a RealignStatus, REALIGN_STATUS_OK or why not; realign_last_error_message() then says what was wrong, where, and what
 * to do about it. The message is the thread's own. No Rust panic crosses into the caller: it becomes REALIGN_STATUS_PANIC.
 *
 * Objects. What a function gives through `out` is freed by the function of its type's name that ends in _free, once; NULL is accepted there and does nothing. After an
 * error `*out` is NULL. Objects keep what they were made of alive: devices, encoders and assistants may be freed in any order.
 *
 * Buffers. Each comes with its length, in numbers or bytes and never in rows, and is checked against what is needed before anything is computed. NULL goes with the length 0.
 * Results are copied into the caller's buffers; a buffer may be longer than needed. Input is not changed and not kept after the call.
 *
 * Strings are UTF-8 and end with NUL; paths, too, on every system. Strings that are returned belong to the object that they are asked of.
 *
 * Threads. A parameter that points to a const object is only read: any number of threads may pass the same object at the same time. One that points to an object that
 * is not const needs it alone: no other thread may use that object meanwhile, which goes for every _free. Every object may be used and freed on another thread than the one that made it.
 * A call uses all cores of the host, or the GPU; from several threads calls take turns there.
 *
 * After fork() the child must not call anything here.
 */


#ifndef REALIGN_H
#define REALIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The version of this header's functions and structs: it grows when one of them changes or goes. A program compares it with
 * realign_abi_version(), which is the library's.
 */
#define REALIGN_ABI 1

/**
 * What a call came to. Numbers keep their meaning; later versions may add some.
 */
enum RealignStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * All went well.
     */
    REALIGN_STATUS_OK = 0,
    /**
     * A pointer that must not be is null.
     */
    REALIGN_STATUS_NULL_POINTER = 1,
    /**
     * A string is not UTF-8.
     */
    REALIGN_STATUS_UTF8 = 2,
    /**
     * A width or a length does not fit: no whole number of rows, another width than the statistics', a buffer that is too short.
     */
    REALIGN_STATUS_SHAPE = 3,
    /**
     * A value outside of what is allowed: an unknown name, a pointer that is not aligned, buffers that overlap.
     */
    REALIGN_STATUS_ARGUMENT = 4,
    /**
     * The operating system refused a file operation.
     */
    REALIGN_STATUS_IO = 5,
    /**
     * A file is damaged, of another kind or of a newer format, or its folder does not exist.
     */
    REALIGN_STATUS_FORMAT = 6,
    /**
     * A NaN or an infinity in the data; the message names row and column.
     */
    REALIGN_STATUS_NON_FINITE = 7,
    /**
     * The data cannot determine what is asked for, such as rows that are all equal.
     */
    REALIGN_STATUS_DEGENERATE = 8,
    /**
     * The file is there already, and may not be overwritten.
     */
    REALIGN_STATUS_OUTPUT_EXISTS = 9,
    /**
     * No adapter answers the request.
     */
    REALIGN_STATUS_NO_ADAPTER = 10,
    /**
     * The adapter cannot do what is needed.
     */
    REALIGN_STATUS_UNSUPPORTED = 11,
    /**
     * The device has no memory left.
     */
    REALIGN_STATUS_OUT_OF_MEMORY = 12,
    /**
     * The device was lost; open another one.
     */
    REALIGN_STATUS_DEVICE_LOST = 13,
    /**
     * The driver refused a command.
     */
    REALIGN_STATUS_GPU = 14,
    /**
     * Anything else; the message says what.
     */
    REALIGN_STATUS_OTHER = 15,
    /**
     * A fault of realign's own: it panicked, and the panic was caught. Free the handles of the call, do not use them.
     */
    REALIGN_STATUS_PANIC = 16,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum RealignStatus RealignStatus;
#else
typedef int32_t RealignStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why an answer ended.
 */
enum RealignEnd
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It has not yet.
     */
    REALIGN_END_NONE = 0,
    /**
     * The model said so.
     */
    REALIGN_END_FINISHED = 1,
    /**
     * The most tokens, or the model's longest context, were reached.
     */
    REALIGN_END_LENGTH = 2,
    /**
     * The callback asked for it.
     */
    REALIGN_END_STOPPED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum RealignEnd RealignEnd;
#else
typedef int32_t RealignEnd;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a call of realign_answer_poll came to.
 */
enum RealignReply
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A piece of the work was done or given to the device: call again, if the frame has time left.
     */
    REALIGN_REPLY_SUBMITTED = 0,
    /**
     * The device is busy with it: go on with the frame.
     */
    REALIGN_REPLY_WAITING = 1,
    /**
     * Here is the next piece of the text.
     */
    REALIGN_REPLY_TEXT = 2,
    /**
     * The answer is complete.
     */
    REALIGN_REPLY_DONE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum RealignReply RealignReply;
#else
typedef int32_t RealignReply;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A list of the adapters that there are. It may be shared between threads.
 */
typedef struct RealignAdapters RealignAdapters;

/**
 * An answer in the making. One thread at a time may use it, not always the same.
 */
typedef struct RealignAnswer RealignAnswer;

/**
 * A language model with its adapter, ready to answer. It may be shared between threads.
 */
typedef struct RealignAssistant RealignAssistant;

/**
 * A device: a GPU, or the host's cores. It may be shared between threads.
 */
typedef struct RealignDevice RealignDevice;

/**
 * The image tower of a CLIP or SigLIP folder. It may be shared between threads.
 */
typedef struct RealignImageEncoder RealignImageEncoder;

/**
 * Exact sums over rows: their mean and their trace, whatever the order and however they were cut. One thread at a time may change them; while none
 * does, they may be shared.
 */
typedef struct RealignMoments RealignMoments;

/**
 * What is known of several collections, so that a query's scores in all of them come on one scale. It may be shared between threads.
 */
typedef struct RealignRanking RealignRanking;

/**
 * A fitted operator: what moves text embeddings into the cloud of images. It may be shared between threads.
 */
typedef struct RealignStatistics RealignStatistics;

/**
 * The text tower of a CLIP or SigLIP folder, or a sentence-transformers encoder. It may be shared between threads.
 */
typedef struct RealignTextEncoder RealignTextEncoder;

/**
 * Gets a warning: UTF-8 that is gone when it returns, and what realign_set_on_warning was given. It is called on any thread, on several at once, and must not
 * throw, nor leave by longjmp.
 */
typedef void (*RealignOnWarning)(const char *text, void *user_data);

/**
 * How statistics are fitted. All zeros, or NULL for the whole, are the defaults.
 */
typedef struct RealignFitOptions {
    /**
     * "realign" (the default, NULL), "mean-shift", "anchor-trace", "c3", "blockwise", "ot", "anisoalign", "ridge" and so on: the names of the command line's
     * --method.
     */
    const char *method;
    /**
     * How ReAlign's centroid step is done: a number of times, "1" (the default, NULL) to "8", or "exact".
     */
    const char *centroid;
    /**
     * Seed of what is random: C3's noise, AnisoAlign's planes.
     */
    uint64_t seed;
    /**
     * Row i of the source is the partner of row i of the target: for "ridge", which is fitted to pairs.
     */
    bool paired;
    /**
     * Accept one row, or rows that are all equal, with the published script's result.
     */
    bool allow_degenerate;
} RealignFitOptions;

/**
 * Rows and the name that they go by.
 */
typedef struct RealignNamedRows {
    /**
     * Letters, digits, '-' and '_', 64 bytes at most.
     */
    const char *name;
    /**
     * Rows, one behind the other.
     */
    const float *rows;
    /**
     * How many numbers they have in all.
     */
    size_t rows_len;
} RealignNamedRows;

/**
 * How an answer is made. All zeros, or NULL for the whole, are the defaults.
 */
typedef struct RealignAnswerOptions {
    /**
     * Most tokens of an answer; 0 for 128.
     */
    size_t max_tokens;
    /**
     * 0: always the most likely token; above it tokens are drawn, the more freely the higher.
     */
    float temperature;
    /**
     * Draw among the most likely tokens that make up this much probability, up to 1; 0 for 1.
     */
    float top_p;
    /**
     * Same seed, same tokens on the same device.
     */
    uint64_t seed;
    /**
     * End at the first newline.
     */
    bool one_line;
} RealignAnswerOptions;

/**
 * Gets the next piece of an answer: `text_len` bytes of UTF-8, whole characters, with a NUL behind them, which are gone when it returns. `user_data` is what
 * the call was given. It returns 0 to go on, anything else to end the answer. It must not throw, nor leave by longjmp.
 */
typedef int32_t (*RealignOnText)(const char *text, size_t text_len, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library's functions and structs: a program that was compiled with a header of another REALIGN_ABI must not call it.
 */
uint32_t realign_abi_version(void);

/**
 * The version of realign, such as "0.1.0".
 */
const char *realign_version(void);

/**
 * The message of the last call on this thread that failed: what was wrong, where, and what to do about it, in UTF-8; "" if none did. It is
 * the thread's own and stays until the next call on it fails; copy it to keep it.
 */
const char *realign_last_error_message(void);

/**
 * A status in a word or two, such as "output exists"; "unknown" for numbers that this version does not give.
 */
const char *realign_status_name(int32_t status);

/**
 * Sets what gets warnings, of the whole process: such as settings of a model that are ignored, or faults of a driver that no call can report. Without it, and
 * with NULL, they are not heard. A call that began before may still reach the function that was set before.
 *
 * What the caller answers for:
 * `on_warning` is NULL or may be called with `user_data`, on any thread, until another one is set and calls that began before have returned.
 */
RealignStatus realign_set_on_warning(RealignOnWarning on_warning,
                                     void *user_data);

/**
 * Opens a device. `name` is NULL or "auto" for the best one (a discrete GPU, else an integrated one, else the host engine), "gpu" for a GPU or an error,
 * "host" for this machine's cores without any driver, a part of an adapter's name, or its number in the list of realign_adapters_new. The environment
 * variables WGPU_BACKEND and WGPU_ADAPTER_NAME are heeded. What is made on a device keeps it alive: it may be freed at any time.
 *
 * What the caller answers for:
 * `name` is NULL or a string; `out` points to a pointer.
 */
RealignStatus realign_device_open(const char *name,
                                  struct RealignDevice **out);

/**
 * The adapter's name, or the host engine's; it lives as long as the device. NULL for NULL.
 *
 * What the caller answers for:
 * `device` is NULL or a device.
 */
const char *realign_device_name(const struct RealignDevice *device);

/**
 * "discrete GPU", "integrated GPU", "GPU", "software GPU" or "host engine"; it lives as long as the device. NULL for NULL.
 *
 * What the caller answers for:
 * `device` is NULL or a device.
 */
const char *realign_device_kind(const struct RealignDevice *device);

/**
 * "vulkan", "metal", "dx12", "gl" or "host"; it lives as long as the device. NULL for NULL.
 *
 * What the caller answers for:
 * `device` is NULL or a device.
 */
const char *realign_device_backend(const struct RealignDevice *device);

/**
 * Frees a device. What was made on it goes on with it.
 *
 * What the caller answers for:
 * `device` is NULL or a device that is not used any more.
 */
void realign_device_free(struct RealignDevice *device);

/**
 * Lists the adapters of all backends, or those of WGPU_BACKEND. The host engine, which is always there, is not among them.
 *
 * What the caller answers for:
 * `out` points to a pointer.
 */
RealignStatus realign_adapters_new(struct RealignAdapters **out);

/**
 * How many adapters there are; 0 for NULL.
 *
 * What the caller answers for:
 * `adapters` is NULL or a list.
 */
size_t realign_adapters_count(const struct RealignAdapters *adapters);

/**
 * An adapter's name, for realign_device_open; it lives as long as the list. NULL for NULL, and beyond the last.
 *
 * What the caller answers for:
 * `adapters` is NULL or a list.
 */
const char *realign_adapters_name(const struct RealignAdapters *adapters, size_t index);

/**
 * An adapter's kind, as realign_device_kind has it; it lives as long as the list. NULL for NULL, and beyond the last.
 *
 * What the caller answers for:
 * `adapters` is NULL or a list.
 */
const char *realign_adapters_kind(const struct RealignAdapters *adapters, size_t index);

/**
 * An adapter's backend, as realign_device_backend has it; it lives as long as the list. NULL for NULL, and beyond the last.
 *
 * What the caller answers for:
 * `adapters` is NULL or a list.
 */
const char *realign_adapters_backend(const struct RealignAdapters *adapters,
                                     size_t index);

/**
 * An adapter's driver and its version; it lives as long as the list. NULL for NULL, and beyond the last.
 *
 * What the caller answers for:
 * `adapters` is NULL or a list.
 */
const char *realign_adapters_driver(const struct RealignAdapters *adapters, size_t index);

/**
 * Frees a list of adapters.
 *
 * What the caller answers for:
 * `adapters` is NULL or a list that is not used any more.
 */
void realign_adapters_free(struct RealignAdapters *adapters);

/**
 * Fits statistics that map rows like `source` (texts) into the cloud of rows like `target` (images). Both are rows of `width` numbers, one behind
 * the other; they need not be pairs, nor as many. `source_len` and `target_len` count numbers, not rows.
 *
 * What the caller answers for:
 * `device` is a device; `source` and `target` point to so many numbers; `options` is NULL or points to options; `out` points to a pointer.
 */
RealignStatus realign_statistics_fit(const struct RealignDevice *device,
                                     const float *source,
                                     size_t source_len,
                                     const float *target,
                                     size_t target_len,
                                     size_t width,
                                     const struct RealignFitOptions *options,
                                     struct RealignStatistics **out);

/**
 * Fits statistics to moments of both sides, which may have been counted elsewhere. ReAlign's centroid step needs the source's rows once more: give those
 * that were counted, or choose a method without it, such as "anchor-trace", and NULL and 0 for the rows.
 *
 * What the caller answers for:
 * `device` is a device, `source` and `target` are moments; `source_rows` is NULL or points to so many numbers; `options` is NULL or points to options; `out`
 * points to a pointer.
 */
RealignStatus realign_statistics_fit_moments(const struct RealignDevice *device,
                                             const struct RealignMoments *source,
                                             const struct RealignMoments *target,
                                             const float *source_rows,
                                             size_t source_rows_len,
                                             const struct RealignFitOptions *options,
                                             struct RealignStatistics **out);

/**
 * Reads a file of statistics, as `realign fit` and realign_statistics_save write it.
 *
 * What the caller answers for:
 * `path` is a string; `out` points to a pointer.
 */
RealignStatus realign_statistics_load(const char *path, struct RealignStatistics **out);

/**
 * Writes a file of statistics, whole or not at all.
 *
 * What the caller answers for:
 * `statistics` are statistics; `path` is a string.
 */
RealignStatus realign_statistics_save(const struct RealignStatistics *statistics, const char *path, bool overwrite);

/**
 * Numbers of a row; 0 for NULL.
 *
 * What the caller answers for:
 * `statistics` is NULL or statistics.
 */
size_t realign_statistics_width(const struct RealignStatistics *statistics);

/**
 * The method's name, such as "realign"; it lives as long as the statistics. NULL for NULL.
 *
 * What the caller answers for:
 * `statistics` is NULL or statistics.
 */
const char *realign_statistics_method(const struct RealignStatistics *statistics);

/**
 * The distance between both sides' means before alignment; NaN for NULL.
 *
 * What the caller answers for:
 * `statistics` is NULL or statistics.
 */
double realign_statistics_gap(const struct RealignStatistics *statistics);

/**
 * Aligns rows in place: `rows_len` numbers, rows of realign_statistics_width() one behind the other. After an error the rows are as they were.
 *
 * What the caller answers for:
 * `device` is a device, `statistics` are statistics; `rows` points to so many numbers, which no other thread reads or writes meanwhile.
 */
RealignStatus realign_statistics_apply(const struct RealignDevice *device,
                                       const struct RealignStatistics *statistics,
                                       float *rows,
                                       size_t rows_len);

/**
 * Aligns rows into another buffer, which has room for `out_len` numbers, `rows_len` at least; both may not overlap. After an error it holds anything.
 *
 * What the caller answers for:
 * `device` is a device, `statistics` are statistics; `rows` points to so many numbers, `out` to memory for so many, which no other thread reads or
 * writes meanwhile.
 */
RealignStatus realign_statistics_apply_to(const struct RealignDevice *device,
                                          const struct RealignStatistics *statistics,
                                          const float *rows,
                                          size_t rows_len,
                                          float *out,
                                          size_t out_len);

/**
 * Frees statistics.
 *
 * What the caller answers for:
 * `statistics` is NULL or statistics that are not used any more.
 */
void realign_statistics_free(struct RealignStatistics *statistics);

/**
 * Moments of no rows yet, which will have `width` numbers each.
 *
 * What the caller answers for:
 * `out` points to a pointer.
 */
RealignStatus realign_moments_new(size_t width, struct RealignMoments **out);

/**
 * Takes in rows, `rows_len` numbers in all. After an error the moments are as they were.
 *
 * What the caller answers for:
 * `device` is a device; `moments` are moments that no other thread uses meanwhile; `rows` points to so many numbers.
 */
RealignStatus realign_moments_update(const struct RealignDevice *device,
                                     struct RealignMoments *moments,
                                     const float *rows,
                                     size_t rows_len);

/**
 * Takes in what was counted elsewhere. After an error the moments are as they were.
 *
 * What the caller answers for:
 * `moments` are moments that no other thread uses meanwhile; `other` are other moments.
 */
RealignStatus realign_moments_merge(struct RealignMoments *moments, const struct RealignMoments *other);

/**
 * How many rows were counted; 0 for NULL.
 *
 * What the caller answers for:
 * `moments` is NULL or moments.
 */
uint64_t realign_moments_rows(const struct RealignMoments *moments);

/**
 * Numbers of a row; 0 for NULL.
 *
 * What the caller answers for:
 * `moments` is NULL or moments.
 */
size_t realign_moments_width(const struct RealignMoments *moments);

/**
 * The mean of the rows brought to length 1, within 5e-10 in each component; zeros without rows. `out` has room for `out_len` numbers, one row's at least.
 *
 * What the caller answers for:
 * `moments` are moments; `out` points to memory for so many numbers.
 */
RealignStatus realign_moments_mean(const struct RealignMoments *moments,
                                   double *out,
                                   size_t out_len);

/**
 * The mean square distance of the rows brought to length 1 from their mean, from 0 to 1; NaN for NULL.
 *
 * What the caller answers for:
 * `moments` is NULL or moments.
 */
double realign_moments_trace(const struct RealignMoments *moments);

/**
 * Writes a file of moments, as `realign stats` does and `realign merge` and `realign fit` read it, whole or not at all.
 *
 * What the caller answers for:
 * `moments` are moments; `path` is a string.
 */
RealignStatus realign_moments_save(const struct RealignMoments *moments, const char *path, bool overwrite);

/**
 * Reads a file of moments.
 *
 * What the caller answers for:
 * `path` is a string; `out` points to a pointer.
 */
RealignStatus realign_moments_load(const char *path, struct RealignMoments **out);

/**
 * The file's bytes, for those who send moments to another process. `needed` gets their number; they are written where `bytes_len` is enough for them, and
 * with NULL and 0 the call only asks for the number. A buffer that is too short is REALIGN_STATUS_SHAPE.
 *
 * What the caller answers for:
 * `moments` are moments; `bytes` is NULL or points to memory for `bytes_len` bytes; `needed` points to a number.
 */
RealignStatus realign_moments_to_bytes(const struct RealignMoments *moments,
                                       uint8_t *bytes,
                                       size_t bytes_len,
                                       size_t *needed);

/**
 * Moments from a file's bytes.
 *
 * What the caller answers for:
 * `bytes` points to so many bytes; `out` points to a pointer.
 */
RealignStatus realign_moments_from_bytes(const uint8_t *bytes, size_t bytes_len, struct RealignMoments **out);

/**
 * Frees moments.
 *
 * What the caller answers for:
 * `moments` is NULL or moments that are not used any more.
 */
void realign_moments_free(struct RealignMoments *moments);

/**
 * Fits a ranking to the rows of each collection, all of `width` numbers: no pairs, no training. `queries` are rows of each kind of query, or NULL and 0:
 * texts that ask are much like texts that answer, and a kind that is not given takes what is known of the collection of its name. `sample` is how many
 * rows of each are kept at most, 0 for 4096; `seed` says which.
 *
 * What the caller answers for:
 * `device` is a device; `collections` and `queries` point to so many structs, whose names are strings and whose rows have their lengths; `out` points to
 * a pointer.
 */
RealignStatus realign_ranking_fit(const struct RealignDevice *device,
                                  const struct RealignNamedRows *collections,
                                  size_t collections_len,
                                  const struct RealignNamedRows *queries,
                                  size_t queries_len,
                                  size_t width,
                                  size_t sample,
                                  uint64_t seed,
                                  struct RealignRanking **out);

/**
 * Reads a file of a ranking, as `realign rank fit` and realign_ranking_save write it.
 *
 * What the caller answers for:
 * `path` is a string; `out` points to a pointer.
 */
RealignStatus realign_ranking_load(const char *path, struct RealignRanking **out);

/**
 * Writes a file of a ranking, whole or not at all.
 *
 * What the caller answers for:
 * `ranking` is a ranking; `path` is a string.
 */
RealignStatus realign_ranking_save(const struct RealignRanking *ranking, const char *path, bool overwrite);

/**
 * Numbers of a row; 0 for NULL.
 *
 * What the caller answers for:
 * `ranking` is NULL or a ranking.
 */
size_t realign_ranking_width(const struct RealignRanking *ranking);

/**
 * Scores on the common scale of what one query scored in a collection. `query` is its row, of any length; `raw` are dot products of rows of length 1, as a
 * database returns them, in any order; `out` gets a score for each and has room for `out_len`, `raw_len` at least. A score is `-log10` of the share of the
 * collection that scores as high: 3 is one item in a thousand. The first call for a collection prepares it.
 *
 * What the caller answers for:
 * `ranking` is a ranking; `query` and `raw` point to so many numbers, `out` to memory for so many; `collection` is a string.
 */
RealignStatus realign_ranking_scores(const struct RealignRanking *ranking,
                                     const float *query,
                                     size_t query_len,
                                     const char *collection,
                                     const float *raw,
                                     size_t raw_len,
                                     double *out,
                                     size_t out_len);

/**
 * Frees a ranking.
 *
 * What the caller answers for:
 * `ranking` is NULL or a ranking that is not used any more.
 */
void realign_ranking_free(struct RealignRanking *ranking);

/**
 * Reads the image tower of a model folder as Hugging Face has it, with its preprocessor_config.json. With `unit_rows` its rows are divided by their
 * norms, as adapters are often trained on them.
 *
 * What the caller answers for:
 * `device` is a device; `folder` is a string; `out` points to a pointer.
 */
RealignStatus realign_image_encoder_load(const struct RealignDevice *device,
                                         const char *folder,
                                         bool unit_rows,
                                         struct RealignImageEncoder **out);

/**
 * Numbers of an embedding; 0 for NULL.
 *
 * What the caller answers for:
 * `encoder` is NULL or an encoder.
 */
size_t realign_image_encoder_width(const struct RealignImageEncoder *encoder);

/**
 * The embedding of a picture from its pixels: `width` x `height` of them from the top left on, line by line without gaps, three bytes each, red, green, blue, in
 * sRGB; `rgb_len` is their number of bytes. It is resized, cropped and normalised as the folder says. `out` has room for `out_len` numbers,
 * realign_image_encoder_width() at least.
 *
 * What the caller answers for:
 * `encoder` is an encoder; `rgb` points to so many bytes, `out` to memory for so many numbers.
 */
RealignStatus realign_image_encoder_encode_rgb(const struct RealignImageEncoder *encoder,
                                               const uint8_t *rgb,
                                               size_t rgb_len,
                                               size_t width,
                                               size_t height,
                                               float *out,
                                               size_t out_len);

/**
 * The embeddings of pictures in files, PNG, JPEG, WebP, GIF or BMP, one row behind the other, in as few batches as keep the device busy. `out` has room for
 * `out_len` numbers, `count` rows of realign_image_encoder_width() at least. After an error it holds anything.
 *
 * What the caller answers for:
 * `encoder` is an encoder; `paths` points to `count` strings, `out` to memory for so many numbers.
 */
RealignStatus realign_image_encoder_encode_files(const struct RealignImageEncoder *encoder,
                                                 const char *const *paths,
                                                 size_t count,
                                                 float *out,
                                                 size_t out_len);

/**
 * Frees an encoder.
 *
 * What the caller answers for:
 * `encoder` is NULL or an encoder that is not used any more.
 */
void realign_image_encoder_free(struct RealignImageEncoder *encoder);

/**
 * Reads the text tower and the tokenizer of a model folder as Hugging Face has it: CLIP, SigLIP, sentence-transformers, or a decoder. `prompt` is put before
 * each text, such as an instruction; NULL for the folder's default. With `unit_rows` rows are divided by their norms, if the folder does not do so already.
 *
 * What the caller answers for:
 * `device` is a device; `folder` is a string, `prompt` NULL or one; `out` points to a pointer.
 */
RealignStatus realign_text_encoder_load(const struct RealignDevice *device,
                                        const char *folder,
                                        const char *prompt,
                                        bool unit_rows,
                                        struct RealignTextEncoder **out);

/**
 * Numbers of an embedding; 0 for NULL.
 *
 * What the caller answers for:
 * `encoder` is NULL or an encoder.
 */
size_t realign_text_encoder_width(const struct RealignTextEncoder *encoder);

/**
 * The embeddings of texts, one row behind the other, in as few batches as keep the device busy. `out` has room for `out_len` numbers, `count` rows of
 * realign_text_encoder_width() at least. `cut`, unless NULL, gets how many texts were longer than the model takes, and were cut.
 *
 * What the caller answers for:
 * `encoder` is an encoder; `texts` points to `count` strings, `out` to memory for so many numbers, `cut` to a number or is NULL.
 */
RealignStatus realign_text_encoder_encode(const struct RealignTextEncoder *encoder,
                                          const char *const *texts,
                                          size_t count,
                                          float *out,
                                          size_t out_len,
                                          size_t *cut);

/**
 * Frees an encoder.
 *
 * What the caller answers for:
 * `encoder` is NULL or an encoder that is not used any more.
 */
void realign_text_encoder_free(struct RealignTextEncoder *encoder);

/**
 * Reads a language model, a folder as Hugging Face has it or a GGUF file, and an adapter, a safetensors file as `realign train` writes it. Without an adapter,
 * NULL, it is asked in text alone.
 *
 * What the caller answers for:
 * `device` is a device; `model` is a string, `adapter` NULL or one; `out` points to a pointer.
 */
RealignStatus realign_assistant_load(const struct RealignDevice *device,
                                     const char *model,
                                     const char *adapter,
                                     struct RealignAssistant **out);

/**
 * Numbers of the embeddings that it is asked about; 0 for NULL.
 *
 * What the caller answers for:
 * `assistant` is NULL or an assistant.
 */
size_t realign_assistant_width(const struct RealignAssistant *assistant);

/**
 * Whether the adapter was trained on rows of length 1, so that encoders should be loaded with `unit_rows`: 1 if so, 0 if not, -1 where its file does not
 * say.
 *
 * What the caller answers for:
 * `assistant` is NULL or an assistant.
 */
int32_t realign_assistant_unit_rows(const struct RealignAssistant *assistant);

/**
 * Asks a question about an embedding of `embedding_len` numbers, or in text alone (NULL and 0), and waits for the answer. `on_text` gets it piece by piece, on
 * this thread, and may end it; `end`, unless NULL, gets why it ended.
 *
 * What the caller answers for:
 * `assistant` is an assistant; `embedding` is NULL or points to so many numbers; `question` is a string; `options` is NULL or points to options; `on_text` may
 * be called with `user_data`; `end` is NULL or points to memory for one.
 */
RealignStatus realign_assistant_ask(const struct RealignAssistant *assistant,
                                    const float *embedding,
                                    size_t embedding_len,
                                    const char *question,
                                    const struct RealignAnswerOptions *options,
                                    RealignOnText on_text,
                                    void *user_data,
                                    RealignEnd *end);

/**
 * Frees an assistant. Answers that it began go on with it.
 *
 * What the caller answers for:
 * `assistant` is NULL or an assistant that is not used any more.
 */
void realign_assistant_free(struct RealignAssistant *assistant);

/**
 * Begins to answer a question about an embedding of `embedding_len` numbers, or in text alone (NULL and 0), without waiting: realign_answer_poll goes on with
 * it. Text, tokens and end are those of realign_assistant_ask.
 *
 * What the caller answers for:
 * `assistant` is an assistant; `embedding` is NULL or points to so many numbers; `question` is a string; `options` is NULL or points to options; `out` points
 * to a pointer.
 */
RealignStatus realign_assistant_start(const struct RealignAssistant *assistant,
                                      const float *embedding,
                                      size_t embedding_len,
                                      const char *question,
                                      const struct RealignAnswerOptions *options,
                                      struct RealignAnswer **out);

/**
 * As realign_assistant_start, about a picture's pixels, as realign_image_encoder_encode_rgb has them: they are resized before this returns; the encoder, the
 * adapter and the model run piece by piece, and no number is read back between them. Encoder and assistant must be on the same device.
 *
 * What the caller answers for:
 * `assistant` is an assistant, `encoder` an encoder; `rgb` points to so many bytes; `question` is a string; `options` is NULL or points to options; `out` points to
 * a pointer.
 */
RealignStatus realign_assistant_start_rgb(const struct RealignAssistant *assistant,
                                          const struct RealignImageEncoder *encoder,
                                          const uint8_t *rgb,
                                          size_t rgb_len,
                                          size_t width,
                                          size_t height,
                                          const char *question,
                                          const struct RealignAnswerOptions *options,
                                          struct RealignAnswer **out);

/**
 * Goes on with an answer, and never waits for a GPU; on the host engine a piece is computed before this returns. `reply` gets what it came to. With
 * REALIGN_REPLY_TEXT `text` and `text_len`, unless NULL, get the next piece: UTF-8, whole characters, with a NUL behind it, there until the next call on this
 * answer; otherwise "" and 0.
 *
 * What the caller answers for:
 * `answer` is an answer that no other thread uses meanwhile; `reply` points to memory for one, `text` and `text_len` too or are NULL.
 */
RealignStatus realign_answer_poll(struct RealignAnswer *answer,
                                  RealignReply *reply,
                                  const char **text,
                                  size_t *text_len);

/**
 * Why the answer ended; REALIGN_END_NONE until realign_answer_poll gave REALIGN_REPLY_DONE, and for NULL.
 *
 * What the caller answers for:
 * `answer` is NULL or an answer that no other thread uses meanwhile.
 */
RealignEnd realign_answer_end(const struct RealignAnswer *answer);

/**
 * Frees an answer, complete or not: what it gave the device to do is done, and no more.
 *
 * What the caller answers for:
 * `answer` is NULL or an answer that is not used any more.
 */
void realign_answer_free(struct RealignAnswer *answer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* REALIGN_H */
