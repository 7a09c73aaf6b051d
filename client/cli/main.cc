// sandboxctl: the command line of sandboxd.
#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "client/cli/command.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/cli/session.h"

namespace sandboxd::cli {
namespace {

void TakeGlobals(const Args& args) {
  if (args.Has("address")) GlobalOptions().address = args.Get("address");
  if (args.Has("json")) GlobalOptions().json = true;
}

int RunMain(const std::vector<std::string>& words) {
  // Flags of all commands may stand before the command.
  Args globals;
  if (std::string error = ParseArgs(GlobalFlags(), /*program_at=*/0, words, &globals);
      !error.empty()) {
    return Fail(error + "; see `sandboxctl --help`");
  }
  TakeGlobals(globals);
  if (globals.positional().empty() || globals.positional()[0] == "help") {
    const Command* about =
        globals.positional().size() > 1 ? FindCommand(globals.positional()[1]) : nullptr;
    fputs((about != nullptr ? HelpText(*about) : HelpText()).c_str(), stdout);
    return globals.Has("help") || !globals.positional().empty() ? 0 : kExitOwnFailure;
  }
  const std::string& name = globals.positional()[0];
  const Command* command = FindCommand(name);
  if (command == nullptr) {
    std::vector<std::string> known;
    for (const Command& c : Commands()) known.push_back(c.name);
    std::string nearest = Nearest(name, known);
    return Fail(
        "there is no command \"" + name + "\"" +
        (nearest.empty() ? "; see `sandboxctl --help`" : " (did you mean " + nearest + "?)"));
  }
  std::vector<Flag> flags(command->flags.begin(), command->flags.end());
  flags.insert(flags.end(), GlobalFlags().begin(), GlobalFlags().end());
  Args args;
  std::vector<std::string> rest(globals.positional().begin() + 1, globals.positional().end());
  std::string error = ParseArgs(flags, command->program_at, rest, &args);
  if (globals.Has("help") || args.Has("help")) {
    fputs(HelpText(*command).c_str(), stdout);
    return 0;
  }
  if (!error.empty()) return Fail(error + "; see `sandboxctl " + name + " --help`");
  TakeGlobals(args);
  if (args.positional().size() < command->min_operands ||
      args.positional().size() > command->max_operands) {
    return Fail("usage: sandboxctl " + name + " " + command->operands);
  }
  return command->run(args);
}

}  // namespace
}  // namespace sandboxd::cli

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // a closed output is an error of the write, which says so
  return sandboxd::cli::RunMain(std::vector<std::string>(argv + 1, argv + argc));
}
