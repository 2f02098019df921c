"""A window with a picture, by Python's tkinter, which is a separate package on some systems."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Window:
    """A window that shows one picture after the other."""

    def __init__(self, title: str) -> None:
        """Opens the window.

        Args:
            title: The window's title.

        Raises:
            ValueError: No window can be shown here.
        """
        try:
            import tkinter
        except ImportError as error:
            raise ValueError(
                f"no window can be shown ({error}; on Debian and Ubuntu: apt install python3-tk); write files with -o"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise ValueError(f"no window can be shown ({error}); write files with -o DIR") from error
        self._photo = tkinter.PhotoImage
        self._label = tkinter.Label(self._root, text="waiting for an image", padx=20, pady=20)
        self._label.pack()
        self._picture: tkinter.PhotoImage | None = None
        self._open = True
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _: self.close())

    def show(self, rgb: "NDArray[np.uint8]") -> None:
        """Shows [H,W,3] uint8 RGB in its own size."""
        if not self._open:
            return
        height, width = rgb.shape[:2]
        # The portable pixmap is the only format that Tk reads without a decoder.
        self._picture = self._photo(data=b"P6 %d %d 255\n" % (width, height) + rgb.tobytes(), format="PPM")
        self._label.configure(image=self._picture, text="", padx=0, pady=0)

    def update(self) -> bool:
        """Handles clicks and keys, and returns whether the window is still open. Call it several times a second."""
        if self._open:
            self._root.update()
        return self._open

    def close(self) -> None:
        """Closes the window."""
        if self._open:
            self._open = False
            self._root.destroy()
