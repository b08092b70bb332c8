// realign.h as C++17 has it: objects that free themselves, errors as exceptions. To be copied into an app and changed there.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "realign.h"

namespace realign {

struct Error : std::runtime_error {
    RealignStatus status;
    explicit Error(RealignStatus status) : std::runtime_error(realign_last_error_message()), status(status) {}
};

inline void check(RealignStatus status) {
    if (status != REALIGN_STATUS_OK) {
        throw Error(status);
    }
}

/// Frees an object by the function of its type.
template <auto free> struct Free {
    template <typename T> void operator()(T *object) const { free(object); }
};
template <typename T, auto free> using Handle = std::unique_ptr<T, Free<free>>;

class Device {
    Handle<RealignDevice, realign_device_free> handle;

  public:
    /// The best one, or the one of this name.
    explicit Device(const char *name = nullptr) {
        RealignDevice *device = nullptr;
        check(realign_device_open(name, &device));
        handle.reset(device);
    }
    const RealignDevice *get() const { return handle.get(); }
    std::string name() const { return realign_device_name(get()); }
};

class ImageEncoder {
    Handle<RealignImageEncoder, realign_image_encoder_free> handle;

  public:
    ImageEncoder(const Device &device, const std::string &folder, bool unit_rows) {
        RealignImageEncoder *encoder = nullptr;
        check(realign_image_encoder_load(device.get(), folder.c_str(), unit_rows, &encoder));
        handle.reset(encoder);
    }
    const RealignImageEncoder *get() const { return handle.get(); }
    std::vector<float> encode(const std::string &file) const {
        std::vector<float> row(realign_image_encoder_width(get()));
        const char *path = file.c_str();
        check(realign_image_encoder_encode_files(get(), &path, 1, row.data(), row.size()));
        return row;
    }
};

/// An answer in the making.
class Answer {
    Handle<RealignAnswer, realign_answer_free> handle;

  public:
    explicit Answer(RealignAnswer *answer) : handle(answer) {}

    /// Goes on for as long as there is something to do and `more` says so; gives the text that came, and whether there will be more.
    std::pair<std::string, bool> poll(const std::function<bool()> &more) {
        std::string heard;
        do {
            RealignReply reply;
            const char *text;
            size_t length;
            check(realign_answer_poll(handle.get(), &reply, &text, &length));
            heard.append(text, length);
            if (reply == REALIGN_REPLY_DONE) {
                return {heard, false};
            }
            if (reply == REALIGN_REPLY_WAITING) {
                break;
            }
        } while (more());
        return {heard, true};
    }
    RealignEnd end() const { return realign_answer_end(handle.get()); }
};

class Assistant {
    Handle<RealignAssistant, realign_assistant_free> handle;

  public:
    Assistant(const Device &device, const std::string &model, const std::string &adapter) {
        RealignAssistant *assistant = nullptr;
        check(realign_assistant_load(device.get(), model.c_str(), adapter.c_str(), &assistant));
        handle.reset(assistant);
    }
    /// Whether its adapter learnt from rows of length 1.
    bool unit_rows() const { return realign_assistant_unit_rows(handle.get()) == 1; }

    /// Answers at once; `heard` gets the pieces, and gives false to end it. What it throws is thrown on.
    RealignEnd ask(const std::vector<float> &embedding, const std::string &question,
                   const std::function<bool(std::string_view)> &heard) const {
        struct Listener {
            const std::function<bool(std::string_view)> &heard;
            std::exception_ptr thrown;
        } listener{heard, nullptr};
        // Nothing may be thrown through the library.
        const RealignOnText on_text = [](const char *text, size_t length, void *data) -> int32_t {
            auto &listener = *static_cast<Listener *>(data);
            try {
                return listener.heard({text, length}) ? 0 : 1;
            } catch (...) {
                listener.thrown = std::current_exception();
                return 1;
            }
        };
        RealignEnd end = REALIGN_END_NONE;
        check(realign_assistant_ask(handle.get(), embedding.data(), embedding.size(), question.c_str(), nullptr,
                                    on_text, &listener, &end));
        if (listener.thrown) {
            std::rethrow_exception(listener.thrown);
        }
        return end;
    }

    /// Begins an answer for a frame loop.
    Answer start(const std::vector<float> &embedding, const std::string &question) const {
        RealignAnswer *answer = nullptr;
        check(realign_assistant_start(handle.get(), embedding.data(), embedding.size(), question.c_str(), nullptr,
                                      &answer));
        return Answer(answer);
    }
};

} // namespace realign
