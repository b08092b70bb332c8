/* Adapters: those that there are, and those that there are not. Apart from the other tests, for drivers keep memory that they do not free.
 *
 * usage: devices ADAPTER
 */
#include "check.h"

int main(int argc, char **argv) {
    CHECK(argc == 2);
    RealignDevice *device = (RealignDevice *)&device;
    FAILS(realign_device_open("no such adapter", &device), REALIGN_STATUS_NO_ADAPTER, "no such adapter");
    CHECK(device == NULL);
    RealignAdapters *adapters = NULL;
    WELL(realign_adapters_new(&adapters));
    size_t count = realign_adapters_count(adapters);
    CHECK(count > 0 && realign_adapters_name(adapters, count) == NULL);
    for (size_t i = 0; i < count; i++) {
        CHECK(realign_adapters_name(adapters, i)[0] != 0 && realign_adapters_kind(adapters, i)[0] != 0);
        CHECK(realign_adapters_backend(adapters, i)[0] != 0 && realign_adapters_driver(adapters, i) != NULL);
    }
    /* By a part of its name. */
    WELL(realign_device_open(argv[1], &device));
    bool listed = false;
    for (size_t i = 0; i < count; i++) {
        listed = listed || strcmp(realign_adapters_name(adapters, i), realign_device_name(device)) == 0;
    }
    CHECK(listed && strcmp(realign_device_kind(device), "host engine") != 0);
    realign_device_free(device);
    realign_adapters_free(adapters);
    puts("devices: passed");
    return 0;
}
