// A question about a picture, inside a frame loop: no call waits for the GPU, so frames keep coming.
//
// c++ -std=c++17 -Icapi/include capi/examples/ask.cpp -Ltarget/release -lrealign_c -Wl,-rpath,$PWD/target/release -o ask
// ./ask VISION_DIR ADAPTER.safetensors MODEL_DIR PICTURE "What is it?" [DEVICE]
#include <chrono>
#include <exception>
#include <iostream>
#include <string_view>
#include <thread>
#include <tuple>

#include "realign.hpp"

using Clock = std::chrono::steady_clock;

/// Sixty frames a second, and what answering may take of one.
constexpr auto frame = std::chrono::microseconds(16667);
constexpr auto share = std::chrono::milliseconds(8);

int run(char **args, const char *name) {
    const realign::Device device(name);
    const realign::Assistant assistant(device, args[2], args[1]);
    const realign::ImageEncoder encoder(device, args[0], assistant.unit_rows());
    const auto embedding = encoder.encode(args[3]);

    auto answer = assistant.start(embedding, args[4]);
    std::string said;
    for (bool more = true; more;) {
        const auto began = Clock::now();
        std::string heard;
        std::tie(heard, more) = answer.poll([&] { return Clock::now() - began < share; });
        std::cout << heard << std::flush;
        said += heard;
        // What the app does besides: it draws, and waits for the screen.
        std::this_thread::sleep_until(began + frame);
    }
    std::cout << std::endl;

    // The same at once, as an app does that has nothing else to do.
    std::string again;
    const RealignEnd end = assistant.ask(embedding, args[4], [&](std::string_view text) {
        again += text;
        return true;
    });
    if (again != said || end != answer.end()) {
        std::cerr << "asked at once it said: " << again << std::endl;
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 6) {
        std::cerr << "usage: ask VISION_DIR ADAPTER.safetensors MODEL_DIR PICTURE QUESTION [DEVICE]" << std::endl;
        return 2;
    }
    try {
        return run(argv + 1, argc > 6 ? argv[6] : nullptr);
    } catch (const std::exception &problem) {
        std::cerr << problem.what() << std::endl;
        return 1;
    }
}
