// A stand-in for sandbox-gofer: serves nothing, ends when its client does.
#include <unistd.h>

#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
  int socket = -1;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.rfind("--socket-fd=", 0) == 0) socket = atoi(argv[i] + 12);
  }
  char byte;
  while (read(socket, &byte, 1) > 0) {
  }
  return 0;
}
