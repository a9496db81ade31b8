"""Stopping a search: by a signal, in this process, in a forked one, in one that is started."""

import multiprocessing
import os
import signal
import threading
import unittest

from fxpect.campaign.stopping import Stop, ignore_signals


def ask(stop):
    """Ask from another process, which ignores what is not for it."""
    ignore_signals()
    os.kill(os.getpid(), signal.SIGINT)
    stop.ask(signal.SIGTERM)


class StopTests(unittest.TestCase):
    """Who asked, and who sees it."""

    def test_a_signal_and_a_second_one(self):
        """The first is remembered, the second interrupts; afterwards the signals mean what they did."""
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number=number):
                before = signal.getsignal(number)
                with Stop().listening() as stop:
                    self.assertEqual((bool(stop), str(stop)), (False, "nothing"))
                    os.kill(os.getpid(), number)
                    self.assertEqual((bool(stop), str(stop)), (True, number.name))
                    with self.assertRaises(KeyboardInterrupt):
                        os.kill(os.getpid(), number)
                self.assertEqual(signal.getsignal(number), before)

    def test_other_processes_see_it(self):
        """What one process asks for is seen by the one that started it."""
        for how in ("fork", "spawn"):
            with self.subTest(how=how):
                stop = Stop()
                other = multiprocessing.get_context(how).Process(target=ask, args=(stop,))
                other.start()
                other.join()
                self.assertEqual((other.exitcode, str(stop)), (0, "SIGTERM"))

    def test_a_forked_process_leaves_the_signal_to_its_parent(self):
        """The keyboard reaches both; only the parent takes it for a wish."""
        with Stop().listening() as stop:
            pid = os.fork()
            if pid == 0:
                os.kill(os.getpid(), signal.SIGINT)
                os._exit(0)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            self.assertFalse(stop)

    def test_another_thread_does_not_listen(self):
        """Python lets the main thread alone take signals; elsewhere nothing is asked for, and nothing fails."""
        before, seen = signal.getsignal(signal.SIGINT), []

        def listen():
            with Stop().listening() as stop:
                seen.append((bool(stop), signal.getsignal(signal.SIGINT)))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        self.assertEqual(seen, [(False, before)])


if __name__ == "__main__":
    unittest.main()
