"""agents/host/embed.py - a file as the bytes of a C array: embed.py INPUT OUTPUT NAME."""
import sys

source, target, name = sys.argv[1:]
with open(source, "rb") as f:
    data = f.read()
with open(target, "w") as f:
    f.write("/* generated */\n#include <stddef.h>\n")
    f.write(f"extern const unsigned char {name}[];\nextern const size_t {name}_size;\n")
    f.write(f"_Alignas(8) const unsigned char {name}[] = {{\n")
    for at in range(0, len(data), 16):
        f.write(" ".join(f"{byte}," for byte in data[at : at + 16]) + "\n")
    f.write(f"}};\nconst size_t {name}_size = sizeof({name});\n")
